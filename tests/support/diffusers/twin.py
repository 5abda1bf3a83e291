"""A twin of the concept stream that runs diffusers' own blocks, with none of our code in it.

It runs them once as the model does, and each once more with the concepts in the prompt's place, which then attend to
themselves and to the image. The attention outputs are taken from torch's function for it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .attention_outputs import attention_outputs
from .families import Family
from .tiny_transformers import Arguments


@torch.no_grad()
def twin(
    family: Family, transformer: Any, inputs: Arguments, embeddings: Tensor, pads: int = 0
) -> tuple[list[Tensor], list[Tensor]]:
    """Per joint block the attention outputs of the image (B, N, D) and of concepts and pads (B, C + pads, D)."""
    calls: list[Arguments] = []
    images: list[Tensor] = []
    handles = []
    for block in transformer.transformer_blocks:
        handles.append(block.register_forward_pre_hook(lambda m, a, options: calls.append(options), with_kwargs=True))
    with attention_outputs() as attended:
        for block in transformer.transformer_blocks:
            handles.append(block.register_forward_pre_hook(lambda module, args: attended.append(torch.empty(0))))
        transformer(**inputs)
    for handle in handles:
        handle.remove()
    starts = [place for place, one in enumerate(attended) if not one.numel()]
    for start, call in zip(starts, calls, strict=True):
        images.append(_image(family, attended[start + 1], call["encoder_hidden_states"].shape[1]))

    batch = len(images[0])
    rows = embeddings.expand(batch, -1, -1) if embeddings.ndim == 2 else embeddings
    concept = family.first(transformer, torch.cat([rows, torch.zeros(batch, pads, rows.shape[-1])], dim=1))
    count = concept.shape[1]
    concepts: list[Tensor] = []
    for block, call in zip(transformer.transformer_blocks, calls, strict=True):
        with attention_outputs() as attended:
            output = block(**{**family.place(transformer, call, count), "encoder_hidden_states": concept})
        concepts.append(attended[0][:, :count] if family.text_first else attended[0][:, -count:])
        concept = output[family.text_out]
    return images, concepts


def _image(family: Family, attended: Tensor, text: int) -> Tensor:
    return attended[:, text:] if family.text_first else attended[:, : attended.shape[1] - text]
