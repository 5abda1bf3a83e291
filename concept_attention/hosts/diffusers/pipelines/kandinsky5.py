"""Kandinsky 5's pipelines that make a video or an image from a prompt alone."""

from __future__ import annotations

from typing import Any

from ....errors import UserError
from ..networks import network_of
from .other import OtherFamily


def nearest_resolution(pipeline: Any, width: int, height: int) -> tuple[int, int]:
    """The size that is made of an image's: one of a list, of about the asked shape."""
    asked = width / height
    sizes: list[tuple[int, int]] = pipeline.resolutions
    return (width, height) if (width, height) in sizes else min(sizes, key=lambda size: abs(size[0] / size[1] - asked))


class Kandinsky5Family(OtherFamily):
    """See `OtherFamily`."""

    def check_parts(self, pipeline: Any) -> None:
        """As in `OtherFamily`.

        Raises:
            UserError: for a model whose attention leaves out most pairs of tokens.
        """
        super().check_parts(pipeline)
        if network_of(pipeline).config.attention_type == "nabla":
            raise UserError(
                "This Kandinsky 5 has sparse attention (NABLA), which takes the tokens in another order, so that it is "
                "not recorded. Choose a model for videos of 5 seconds."
            )
