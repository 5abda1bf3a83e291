"""What tests have to know of a family whose own blocks run on the concepts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..tiny_transformers import Arguments

Swap = Callable[[Any, Arguments, Arguments, Tensor], Arguments]  # model, evaluation, a block's arguments, concepts


@dataclass(frozen=True)
class OwnBlockFamily:
    """One family.

    Attributes:
        make: a random transformer with three joint blocks.
        inputs: random arguments of one evaluation, for (transformer, batch, rows, columns, text tokens, seed).
        swap: arguments of a joint block with the concepts, (B, C, D), in the prompt's place.
        first: block-0 tokens of embeddings (B, C, E); None if those of a prompt of that one token are.
        text_of: the text tokens in the arguments of a block.
        text_out: the text tokens in what a block returns.
        blocks: name of the joint blocks.
        inner: what of an entry of that list is the block.
        text_first: whether concepts come before the image in the twin's attention.
        frames: image tokens along time.
        row_by_row: whether a block attends for each row by itself.
        references: tokens of reference images, behind the image's.
        begins: where what is made begins in a block's own attention, if neither first nor last.
        prompt: name of the prompt among the arguments of an evaluation.
        one_token: whether a prompt of one token is all of the text that the blocks see.
    """

    make: Callable[[], Any]
    inputs: Callable[..., Arguments]
    swap: Swap
    first: Callable[[Any, Arguments, Tensor], Tensor] | None = None
    text_of: Callable[[Arguments], Tensor] = lambda arguments: arguments["encoder_hidden_states"]
    text_out: Callable[[Any], Tensor] = lambda output: output[0]
    blocks: str = "transformer_blocks"
    inner: Callable[[Any], Any] = lambda block: block
    text_first: bool = True
    frames: int = 1
    row_by_row: bool = False
    references: int = 0
    begins: Callable[[Arguments], int] | None = None
    prompt: str = "encoder_hidden_states"
    one_token: bool = True


def grid_ids(rows: int, columns: int, *more: int) -> Tensor:
    places = [(0, row, column, *more) for row in range(rows) for column in range(columns)]
    return torch.tensor(places, dtype=torch.float32)


def two_streams(**own: Callable[[Any, Arguments, Arguments, Tensor], Any]) -> Swap:
    """The concepts as `encoder_hidden_states`, no mask, and what a family changes besides."""

    def swap(model: Any, evaluation: Arguments, arguments: Arguments, concept: Tensor) -> Arguments:
        masks = {name: None for name in arguments if name.endswith("mask")}
        changed = {name: change(model, evaluation, arguments, concept) for name, change in own.items()}
        return {**arguments, **masks, "encoder_hidden_states": concept, **changed}

    return swap


def flux_turns(position: int = 0) -> Callable[[Any, Arguments, Arguments, Tensor], Any]:
    def change(model: Any, evaluation: Arguments, arguments: Arguments, concept: Tensor) -> Any:
        text, count = arguments["encoder_hidden_states"].shape[1], concept.shape[1]
        turns = arguments["image_rotary_emb"]
        return tuple(torch.cat([one[position, None].expand(count, -1), one[text:]]) for one in turns)

    return change
