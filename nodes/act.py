"""Nodes that act where a concept is, in the run that finds it and without a second prompt: a LoRA, a strength."""

from __future__ import annotations

from typing import Any

import comfy.utils
import folder_paths
from comfy_api.latest import io

from ..concept_attention.choices import SCALED, RegionShape, Scaled
from ..concept_attention.hosts.comfyui.acting.lora import LoraSomewhere, check_lora
from ..concept_attention.hosts.comfyui.acting.place import FREEZE, START
from ..concept_attention.hosts.comfyui.acting.strength import StrengthSomewhere
from ..concept_attention.hosts.comfyui.patching import add_part
from ..concept_attention.hosts.encoded import EncodedConcepts
from .place_inputs import place_inputs, shape_inputs, to_place
from .sockets import REGIONS, concepts_input


class ConceptLora(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ConceptLora",
            display_name="LoRA Where a Concept Is",
            category=REGIONS,
            description="A LoRA that acts only where a concept is. The place is found while the picture is made, and "
            "the model is not evaluated more often, however many LoRAs there are. For Flux, Qwen-Image and Stable "
            "Diffusion 3.",
            search_aliases=["regional lora", "lora mask", "lora for one subject", "lora region", "concept attention"],
            inputs=[
                io.Model.Input("model", tooltip="The model, plain or patched to record concepts. It is not modified."),
                io.Combo.Input(
                    "lora", options=folder_paths.get_filename_list("loras"), tooltip="The LoRA file, in models/loras."
                ),
                io.Float.Input(
                    "lora_strength",
                    display_name="LoRA strength",
                    default=1.0,
                    min=-10.0,
                    max=10.0,
                    step=0.01,
                    tooltip="How strongly the LoRA acts in its place. 1 is as trained.",
                ),
                concepts_input(),
                *place_inputs(),
                *shape_inputs(),
            ],
            outputs=[io.Model.Output(display_name="MODEL", tooltip="The model with the LoRA in its place.")],
        )

    @classmethod
    def execute(
        cls,
        model: Any,
        lora: str,
        lora_strength: float,
        concepts: EncodedConcepts,
        concept: str = "",
        start: float = START,
        freeze: float = FREEZE,
        shape: RegionShape = "soft",
        grow: float = 0.0,
        feather: float = 0.0,
        strength: float = 1.0,
    ) -> io.NodeOutput:
        place = to_place(concepts, concept, start, freeze, shape, grow, feather, strength)
        weights = comfy.utils.load_torch_file(folder_paths.get_full_path_or_raise("loras", lora), safe_load=True)
        somewhere = LoraSomewhere(lora, weights, lora_strength, place)
        check_lora(somewhere, model.model)
        return io.NodeOutput(add_part(model, concepts, somewhere))


class ConceptStrength(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ConceptStrength",
            display_name="Strength Where a Concept Is",
            category=REGIONS,
            description="Guidance (CFG), a ControlNet's strength or the denoising strength that differs where a "
            "concept is. The place is found while the picture is made.",
            search_aliases=[
                "cfg mask",
                "regional cfg",
                "controlnet mask",
                "differential diffusion",
                "denoise mask",
                "concept attention",
            ],
            inputs=[
                io.Model.Input("model", tooltip="The model, plain or patched to record concepts. It is not modified."),
                concepts_input(),
                io.Combo.Input(
                    "scales",
                    options=list(SCALED),
                    default="cfg",
                    tooltip="cfg: guidance; needs a CFG above 1. controlnet: what ControlNets add. denoise: how much "
                    "of an existing picture is made anew, best with Differential Diffusion.",
                ),
                io.Float.Input(
                    "factor",
                    default=0.5,
                    min=0.0,
                    max=10.0,
                    step=0.01,
                    tooltip="What the strength is multiplied by where the concept is. 1 changes nothing. For denoise "
                    "at most 1: 0 keeps the concept as it is.",
                ),
                *place_inputs(),
                *shape_inputs(),
            ],
            outputs=[io.Model.Output(display_name="MODEL", tooltip="The model, for the sampler.")],
        )

    @classmethod
    def execute(
        cls,
        model: Any,
        concepts: EncodedConcepts,
        scales: Scaled,
        factor: float,
        concept: str = "",
        start: float = START,
        freeze: float = FREEZE,
        shape: RegionShape = "soft",
        grow: float = 0.0,
        feather: float = 0.0,
        strength: float = 1.0,
    ) -> io.NodeOutput:
        place = to_place(concepts, concept, start, freeze, shape, grow, feather, strength)
        return io.NodeOutput(add_part(model, concepts, StrengthSomewhere(scales, factor, place)))
