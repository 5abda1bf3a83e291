"""Where the concept stream listens in a joint block."""

from __future__ import annotations

from typing import NamedTuple

from torch import nn


class HookPoints(NamedTuple):
    """Submodules of a joint block whose inputs and outputs carry the image stream's attention.

    Attributes:
        image_key: its output has the image keys, before RoPE.
        image_value: its output has the image values.
        image_out: its input has the image tokens' attention output, heads together, before the projection.
        joined: text tokens pass through `image_out` as well; `token_slices` says where.
    """

    image_key: nn.Module
    image_value: nn.Module
    image_out: nn.Module
    joined: bool = False
