"""Naive twins: diffusers' own blocks, called by hand with the concepts in the prompt's place and the whole image."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor

from ..attention_outputs import attention_outputs
from ..tiny_transformers import Arguments
from .family import OwnBlockFamily


@torch.no_grad()
def naive_twin(
    family: OwnBlockFamily, transformer: Any, inputs: Arguments, embeddings: Tensor, grid: tuple[int, int]
) -> tuple[list[Tensor], list[Tensor]]:
    """Per joint block the attention outputs of the image's tokens (B, N, D) and of the concepts (B, C, D).

    Args:
        inputs: of one evaluation.
        embeddings: of the concepts, (C, E).
        grid: rows and columns of the image.
    """
    count, images, concepts = family.frames * grid[0] * grid[1], [], []
    calls, outputs = block_calls(family, transformer, inputs)
    batch = len(calls[0]["temb"]) if "temb" in calls[0] and family.row_by_row else len(outputs[0][0])
    rows = embeddings.expand(batch, -1, -1)
    concept = family.first(transformer, inputs, rows) if family.first else _alone(family, transformer, inputs, rows)
    for block, arguments, attended in zip(blocks_of(family, transformer), calls, outputs, strict=True):
        swapped = family.swap(transformer, inputs, arguments, concept)
        with attention_outputs() as seen:
            output = type(block).forward(block, **swapped)
        joint, words = torch.cat(_joint(seen, batch)), concept.shape[1]
        concepts.append(joint[:, :words] if family.text_first else joint[:, -words:])
        images.append(torch.cat([_image(family, inputs, part, count) for part in _joint(attended, batch)]))
        concept = family.text_out(output)
        concept = concept[:, :words] if family.text_first else concept[:, -words:]
    return images, concepts


def blocks_of(family: OwnBlockFamily, transformer: Any) -> list[Any]:
    return [family.inner(block) for block in getattr(transformer, family.blocks)]


def block_calls(
    family: OwnBlockFamily, transformer: Any, inputs: Arguments
) -> tuple[list[Arguments], list[list[Tensor]]]:
    """What each joint block is called with, by name, and what each of its attention calls gives, (B, tokens, D)."""
    calls: list[Arguments] = []
    outputs: list[list[Tensor]] = []

    def begin(block: Any, args: Any, kwargs: Any) -> None:
        names = [name for name in inspect.signature(type(block).forward).parameters if name not in ("args", "kwargs")]
        calls.append({**dict(zip(names[1:], args, strict=False)), **kwargs})
        seen.clear()

    handles = []
    for block in blocks_of(family, transformer):
        handles.append(block.register_forward_pre_hook(begin, with_kwargs=True))
        handles.append(block.register_forward_hook(lambda *_: outputs.append(list(seen))))
    with attention_outputs() as seen:
        transformer(**inputs)
    for handle in handles:
        handle.remove()
    return calls, outputs


def _joint(seen: list[Tensor], batch: int) -> list[Tensor]:
    """The outputs of a block's joint attention, before those of what comes behind it."""
    return seen[: batch // len(seen[0])]


def _image(family: OwnBlockFamily, inputs: Arguments, attended: Tensor, count: int) -> Tensor:
    if family.begins is not None:
        start = family.begins(inputs)
        return attended[:, start : start + count]
    if not family.text_first:
        return attended[:, :count]
    if "encoder_attention_mask" in inputs and family.blocks == "layers":  # captions are as long as they are
        starts = inputs["encoder_attention_mask"].sum(dim=1).tolist()
        return torch.stack([row[start : start + count] for row, start in zip(attended, starts, strict=True)])
    start = attended.shape[1] - count - family.references
    return attended[:, start : start + count]


def _alone(family: OwnBlockFamily, transformer: Any, inputs: Arguments, rows: Tensor) -> Tensor:
    """Block-0 tokens of each concept as a prompt of that one token."""
    made = []
    for number in range(rows.shape[1]):
        calls, _ = block_calls(family, transformer, one_token(inputs, rows[:, number, None]))
        made.append(family.text_of(calls[0]))
    return torch.cat(made, dim=1)


def one_token(inputs: Arguments, token: Tensor) -> Arguments:
    """The evaluation with a prompt of one token, (B, 1, E)."""
    changed: Arguments = {"encoder_hidden_states": token}
    if "txt_ids" in inputs:
        changed["txt_ids"] = inputs["txt_ids"][:1]
    for name in ("encoder_hidden_states_mask", "encoder_attention_mask"):
        if inputs.get(name) is not None:
            changed[name] = torch.ones_like(inputs[name][:, :1])
    if inputs.get("attention_mask") is not None:  # of text and image
        changed["attention_mask"] = torch.ones_like(inputs["attention_mask"][:, inputs["txt_ids"].shape[0] - 1 :])
    return {**inputs, **changed}
