"""Chroma and Chroma Radiance in ComfyUI.

Read `double_stream.py` first. What modulates the blocks is made by one small network from timestep and guidance, and
told to every block: see `Chroma.forward_orig` of comfy/ldm/chroma/model.py (0.19 to 0.33). No text takes part in it.
"""

from __future__ import annotations

from typing import Any

from comfy.ldm.chroma.model import Chroma

from ...architecture import Architecture
from . import double_stream
from .network import network

SUPPORTED = ("Chroma", "Chroma Radiance")


def matches(model: Any) -> bool:
    return isinstance(network(model), Chroma)


def describe(model: Any) -> Architecture:
    return double_stream.describe(network(model), "chroma")


joint_blocks = double_stream.joint_blocks
token_slices = double_stream.token_slices
conditioning_modules = double_stream.conditioning_modules
concept_modulation = double_stream.concept_modulation
project_concepts = double_stream.project_concepts
attend_concepts = double_stream.attend_concepts
update_concepts = double_stream.update_concepts
