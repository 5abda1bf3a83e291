"""Flux 2 in ComfyUI: dev and Klein.

Read `double_stream.py` first. All blocks share their modulation, which `Flux.forward_orig` of comfy/ldm/flux/model.py
(0.19 to 0.33) makes once; there is no pooled text vector in it, and concepts have exactly the text's.

Source: the authors' code for Flux 2 dev, in which every concept has the place of the last word of a prompt.
"""

from __future__ import annotations

from typing import Any

from comfy.ldm.flux.model import Flux

from ...architecture import AUTHORS_FLUX2_LAYERS, Architecture
from . import double_stream
from .network import network

SUPPORTED = ("Flux 2",)

# Where a prompt of one word has it: dev's Mistral encoder is padded at the left to 512 tokens, of which the last one
# ends the chat template; Klein's Qwen encoder is padded at the right, and the template begins with three tokens.
DEV_POSITION = 510
KLEIN_POSITION = 3


def matches(model: Any) -> bool:
    flux = network(model)
    return isinstance(flux, Flux) and flux.params.global_modulation


def describe(model: Any) -> Architecture:
    flux = network(model)
    position = DEV_POSITION if flux.params.guidance_embed else KLEIN_POSITION
    return double_stream.describe(flux, "flux2", AUTHORS_FLUX2_LAYERS, concept_position=position)


joint_blocks = double_stream.joint_blocks
token_slices = double_stream.token_slices
conditioning_modules = double_stream.conditioning_modules
concept_modulation = double_stream.concept_modulation
project_concepts = double_stream.project_concepts
attend_concepts = double_stream.attend_concepts
update_concepts = double_stream.update_concepts
