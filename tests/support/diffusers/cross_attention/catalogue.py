"""All families whose concepts are read as keys."""

from __future__ import annotations

from collections.abc import Mapping

from .causal import qwen_image21
from .family import CrossFamily

CROSS: Mapping[str, CrossFamily] = {
    "Qwen-Image 2.1": qwen_image21(padded=True),
    "Qwen-Image 2.1, edit": qwen_image21(condition=(2, 4)),
}
