"""Nodes that act where a concept is, in the run that finds it: a prompt, a LoRA, a strength; and the mask of where."""

from __future__ import annotations

from typing import Any

import comfy.utils
import folder_paths
from comfy_api.latest import io, ui

from ..concept_attention.choices import REGION_SHAPES, REGION_WAYS, SCALED, RegionShape, RegionWay, Scaled
from ..concept_attention.hosts.comfyui.acting.lora import LoraSomewhere, check_lora
from ..concept_attention.hosts.comfyui.acting.place import FREEZE, START, Place
from ..concept_attention.hosts.comfyui.acting.prompts import Region, add_region
from ..concept_attention.hosts.comfyui.acting.regions import PromptsOfRegions
from ..concept_attention.hosts.comfyui.acting.strength import StrengthSomewhere
from ..concept_attention.hosts.comfyui.graph_place import who_asks
from ..concept_attention.hosts.comfyui.patching import add_part, collect, unchanged
from ..concept_attention.hosts.comfyui.recording_cache import NothingRecorded
from ..concept_attention.hosts.encoded import EncodedConcepts
from . import convert, report
from .sockets import REGIONS, concepts_input, place_inputs


class ConceptRegion(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ConceptRegion",
            display_name="Prompt Where a Concept Is",
            category=REGIONS,
            description="A second prompt that counts only where a concept is. The place is found while the picture is "
            "made, in the same run, with any sampler. The second prompt may have a LoRA or a ControlNet of its own. "
            "Connect both outputs to the sampler.",
            search_aliases=[
                "regional prompt",
                "region",
                "attention couple",
                "area conditioning",
                "regional lora",
                "edit where a concept is",
                "concept attention",
            ],
            inputs=[
                io.Model.Input("model", tooltip="The model, plain or patched to record concepts. It is not modified."),
                io.Conditioning.Input("conditioning", tooltip="The prompt of the whole picture."),
                io.Conditioning.Input(
                    "regional",
                    tooltip="The prompt that counts where the concept is. Describe the whole picture, with the change: "
                    "a red house on grass. Hooks (LoRAs) and ControlNets act there only.",
                ),
                concepts_input(),
                *place_inputs(),
                io.Combo.Input(
                    "way",
                    options=list(REGION_WAYS),
                    default="blend",
                    optional=True,
                    tooltip="blend: both prompts shape the picture together, in one run; something of the rest changes "
                    "as well. keep the rest: the rest stays as it is without the region, bit for bit in the latent; "
                    "sampling runs once more from the start on.",
                ),
                *_shape_inputs(),
            ],
            outputs=[
                io.Model.Output(display_name="MODEL", tooltip="The model that follows the concept, for the sampler."),
                io.Conditioning.Output(
                    display_name="CONDITIONING",
                    tooltip="Both prompts, for the sampler's positive input, or for the next region. Without this "
                    "node's MODEL the second one does nothing.",
                ),
            ],
        )

    @classmethod
    def execute(
        cls,
        model: Any,
        conditioning: Any,
        regional: Any,
        concepts: EncodedConcepts,
        concept: str = "",
        start: float = START,
        freeze: float = FREEZE,
        way: RegionWay = "blend",
        shape: RegionShape = "soft",
        grow: float = 0.0,
        feather: float = 0.0,
        strength: float = 1.0,
    ) -> io.NodeOutput:
        place = _place(concepts, concept, start, freeze, shape, grow, feather, strength)
        region = Region(place, way, concepts.fingerprint())
        acting = add_part(model, concepts, PromptsOfRegions(place.last_percent))
        return io.NodeOutput(acting, add_region(conditioning, regional, region))


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
                *_shape_inputs(),
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
        place = _place(concepts, concept, start, freeze, shape, grow, feather, strength)
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
                *_shape_inputs(),
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
        place = _place(concepts, concept, start, freeze, shape, grow, feather, strength)
        return io.NodeOutput(add_part(model, concepts, StrengthSomewhere(scales, factor, place)))


class ConceptRegionMask(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ConceptRegionMask",
            display_name="Concept Region to Mask",
            category=REGIONS,
            description="The mask of a region at the end of the run in which it acted: where the second prompt, LoRA "
            "or strength counted. Also the latent without the change, where the rest was kept.",
            search_aliases=["region mask", "regional prompt mask", "concept mask", "concept attention"],
            has_intermediate_output=True,
            hidden=[io.Hidden.dynprompt],
            inputs=[
                io.Latent.Input(
                    "latent", tooltip="The latent directly from the sampler, before any other node changes it."
                ),
                io.String.Input(
                    "region",
                    default="",
                    optional=True,
                    tooltip="Name of the region, as the text below this node lists them. Empty: all regions together.",
                ),
            ],
            outputs=[
                io.Mask.Output(
                    display_name="MASK",
                    tooltip="One mask per image, in the image's size, 1 where the region is. For videos one per frame.",
                ),
                io.Latent.Output(
                    display_name="unchanged",
                    tooltip="The latent without the second prompt. Only of regions that keep the rest.",
                ),
            ],
        )

    @classmethod
    def execute(cls, latent: dict[str, Any], region: str = "") -> io.NodeOutput:
        asked = who_asks(cls.hidden.dynprompt if cls.hidden else None, "latent")
        try:
            recording = collect(latent, asked=asked)
        except NothingRecorded as missing:
            return io.NodeOutput(missing.blocker, missing.blocker, ui=ui.PreviewText(str(missing)))
        mask = convert.to_region_mask(recording, region)
        try:
            plain: Any = {**latent, "samples": unchanged(latent, asked)}
        except NothingRecorded as missing:
            plain = missing.blocker
        names = [region] if region else recording.regions or ()
        return io.NodeOutput(mask, plain, ui=ui.PreviewText(report.mask_text(names, mask)))


def _shape_inputs() -> list[io.Input]:
    """How a place becomes a mask; after all inputs that people use."""
    return [
        io.Combo.Input(
            "shape",
            options=list(REGION_SHAPES),
            default="soft",
            optional=True,
            advanced=True,
            tooltip="soft: the mask fades out at the concept's border. hard: it ends where the share falls below one "
            "half.",
        ),
        io.Float.Input(
            "grow",
            default=0.0,
            min=-512.0,
            max=512.0,
            step=1.0,
            optional=True,
            advanced=True,
            tooltip="Grows the mask by so many pixels of the image; negative numbers shrink it.",
        ),
        io.Float.Input(
            "feather",
            default=0.0,
            min=0.0,
            max=512.0,
            step=1.0,
            optional=True,
            advanced=True,
            tooltip="Blurs the mask's border over so many pixels of the image.",
        ),
        io.Float.Input(
            "strength",
            default=1.0,
            min=0.0,
            max=1.0,
            step=0.01,
            optional=True,
            advanced=True,
            tooltip="Factor of the mask. 0 changes nothing, bit for bit.",
        ),
    ]


def _place(concepts: EncodedConcepts, concept: str, *options: Any) -> Place:
    """The place that the inputs of a node name, checked against its concepts."""
    place = Place(tuple(convert.to_names(concept, concepts.concepts)), *options)
    place.indices(concepts.concepts)
    return place
