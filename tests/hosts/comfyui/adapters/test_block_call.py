"""What adapters are told about a call of a joint block."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from concept_attention.hosts.comfyui.adapters.block_call import OPTIONS, BlockCall, Rows, named_arguments, with_argument

PE = torch.arange(2 * 9).view(2, 9, 1)  # of two images: two tokens of something else, four of text, three of an image
TEXT = slice(2, 6)


@pytest.mark.parametrize(("rows", "expected"), [(slice(1, 2), [1]), (torch.tensor([1, 0]), [1, 0])])
def test_recorded_rows_are_selected_where_there_is_a_batch(rows: Rows, expected: list[int]) -> None:
    call = BlockCall({}, rows)
    assert torch.equal(call.select(PE), PE[expected])
    assert torch.equal(call.select(PE[:1]), PE[:1])


@pytest.mark.parametrize(
    ("positions", "places"),
    [
        (slice(0, 1), [2]),
        (slice(3, 4), [5]),
        (slice(510, 511), [5]),
        (slice(0, None), [2, 3, 4, 5]),
    ],
)
def test_position_embeddings_are_those_of_text_tokens(positions: slice, places: list[int]) -> None:
    """Of the last one where the prompt is shorter, and never of an image token."""
    call = BlockCall({}, slice(1, 2), positions=positions)
    assert torch.equal(call.rotations(PE, 1, TEXT), PE[1:2, places])
    assert torch.equal(call.rotations(PE[:1], 1, TEXT), PE[:1, places])


class Block(nn.Module):
    def forward(self, image: Tensor, text: Tensor, transformer_options: dict[str, int] | None = None) -> None:
        """Never run."""


def test_arguments_are_named_and_options_exchanged_by_place_or_name() -> None:
    image, text = torch.zeros(1), torch.ones(1)
    assert named_arguments(Block(), (image, text), {}) == {"image": image, "text": text}
    assert with_argument(Block(), (image, text, {"a": 1}), {}, OPTIONS, {"b": 2}) == ((image, text, {"b": 2}), {})
    assert with_argument(Block(), (image,), {"text": text}, OPTIONS, {"b": 2}) == (
        (image,),
        {"text": text, "transformer_options": {"b": 2}},
    )
