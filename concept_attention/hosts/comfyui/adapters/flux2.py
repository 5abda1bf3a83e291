"""Flux 2 in ComfyUI: dev and Klein.

Read `double_stream.py` first. All blocks share their modulation, which `Flux.forward_orig` of comfy/ldm/flux/model.py
(0.19 to 0.33) computes once; no pooled text vector is part of it, and concepts have exactly the text's.

Source: the authors' code for Flux 2 dev, in which every concept has the position of the last word of a prompt.
"""

from __future__ import annotations

from typing import Any

from comfy.ldm.flux.model import Flux as FluxNetwork

from ...architecture import AUTHORS_FLUX2_LAYERS, Architecture
from .double_stream import DoubleStream
from .network import network_of

# Position of the word in a prompt of one: dev's Mistral encoder is padded at the left to 512 tokens, of which the last
# one ends the chat template; Klein's Qwen encoder is padded at the right, and the template begins with three tokens.
DEV_POSITION = 510
KLEIN_POSITION = 3


class Flux2(DoubleStream):
    supported = ("Flux 2",)

    def matches(self, model: Any) -> bool:
        network = network_of(model)
        return isinstance(network, FluxNetwork) and network.params.global_modulation

    def describe(self, model: Any) -> Architecture:
        network = network_of(model)
        position = DEV_POSITION if network.params.guidance_embed else KLEIN_POSITION
        return self.describe_network(network, "flux2", AUTHORS_FLUX2_LAYERS, concept_position=position)
