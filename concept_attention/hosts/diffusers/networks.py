"""The networks of a pipeline that are evaluated in its steps."""

from __future__ import annotations

from typing import Any

from torch import nn

# Wan 2.2 has one for the noisy steps, `transformer`, and one for the others.
NAMES = ("transformer", "transformer_2", "unet")


def networks_of(pipeline: Any) -> dict[str, nn.Module]:
    """The networks that a pipeline has, by name, as they are: possibly compiled."""
    found = {name: getattr(pipeline, name, None) for name in NAMES}
    return {name: part for name, part in found.items() if part is not None}


def network_of(pipeline: Any) -> Any:
    """The first of them, of whose sizes the others are; None if there is none."""
    return next(iter(networks_of(pipeline).values()), None)
