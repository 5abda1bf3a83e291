"""Chroma and Chroma Radiance in ComfyUI.

Read `double_stream.py` first. One small network computes the modulation of all blocks from timestep and guidance, and
each block receives its part: see `Chroma.forward_orig` of comfy/ldm/chroma/model.py (0.19 to 0.33). No text takes part.
"""

from __future__ import annotations

from typing import Any

from comfy.ldm.chroma.model import Chroma as ChromaNetwork

from ...architecture import Architecture
from .double_stream import DoubleStream
from .network import network_of


class Chroma(DoubleStream):
    supported = ("Chroma", "Chroma Radiance")

    def matches(self, model: Any) -> bool:
        return isinstance(network_of(model), ChromaNetwork)

    def describe(self, model: Any) -> Architecture:
        return self.describe_network(network_of(model), "chroma")
