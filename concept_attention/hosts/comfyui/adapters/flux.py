"""Flux 1 in ComfyUI: dev, schnell, Krea, Kontext, Fill, Canny, Depth, Redux and their fine-tunes; LongCat-Image and
Ovis-Image, which are the same network without a pooled text vector.

Read `double_stream.py` first. Modulation follows `Flux.forward_orig` of comfy/ldm/flux/model.py (0.19 to 0.33).

Source: arXiv:2502.04320, Sec. 4; the position ids and the modulation of concepts are the authors' (all ids zero,
a zero pooled vector).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from comfy.ldm.flux.model import Flux as FluxNetwork
from torch import Tensor, nn

from ...architecture import Architecture
from .block_call import BlockCall
from .double_stream import DoubleStream
from .network import network_of

OVIS_POSITION = 1  # of the word in a prompt of one: what is left of the chat template begins with a colon


class Flux(DoubleStream):
    supported = ("Flux 1", "LongCat-Image", "Ovis-Image")

    def matches(self, model: Any) -> bool:
        """Flux 2 has the same class, but its blocks share their modulation."""
        network = network_of(model)
        return isinstance(network, FluxNetwork) and not network.params.global_modulation

    def describe(self, model: Any) -> Architecture:
        network = network_of(model)
        position = 0 if network.txt_norm is None else OVIS_POSITION
        return self.describe_network(network, "flux", concept_position=position, pooled_text=False)

    def conditioning_modules(self, network: Any) -> Mapping[str, nn.Module]:
        """The parts of the modulation vector, as the model itself calls them in every forward pass."""
        parts = {"time": network.time_in, "guidance": network.guidance_in, "pooled": network.vector_in}
        return {name: module for name, module in parts.items() if module is not None}

    def prepare(self, network: Any, call: BlockCall) -> Tensor:
        """The concepts' modulation vector, (B, D): timestep and guidance of this evaluation, a zero pooled vector."""
        vec = call.calls["time"].output
        if "guidance" in call.calls:
            vec = vec + call.calls["guidance"].output
        if "pooled" in call.calls:
            vec = vec + network.vector_in(torch.zeros_like(call.calls["pooled"].arguments[0]))
        return vec[call.rows]

    def project_concepts(self, network: Any, embeddings: Tensor, call: BlockCall) -> Tensor:
        if network.txt_norm is not None:
            embeddings = network.txt_norm(embeddings)
        return network.txt_in(embeddings)
