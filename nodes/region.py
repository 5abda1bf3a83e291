"""Nodes of regions: a prompt where a concept is, found in the same run, and the mask of where anything acted."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io, ui

from ..concept_attention.choices import REGION_WAYS, RegionShape, RegionWay
from ..concept_attention.drawing.preview import REGIONS as SHOW_REGIONS
from ..concept_attention.hosts.comfyui.acting.place import FREEZE, START
from ..concept_attention.hosts.comfyui.acting.prompts import Region, add_region
from ..concept_attention.hosts.comfyui.acting.regions import PromptsOfRegions
from ..concept_attention.hosts.comfyui.graph_place import who_asks
from ..concept_attention.hosts.comfyui.patching import add_part, collect, unchanged
from ..concept_attention.hosts.comfyui.recording_cache import NothingRecorded
from ..concept_attention.hosts.encoded import EncodedConcepts
from . import convert, report
from .place_inputs import place_inputs, shape_inputs, to_place
from .sockets import REGIONS, concepts_input


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
                *shape_inputs(),
                io.Boolean.Input(
                    "live_preview",
                    display_name="live preview",
                    default=False,
                    optional=True,
                    advanced=True,
                    tooltip="Shows where the second prompt counts in ComfyUI's preview: outside, it is darker.",
                ),
            ],
            outputs=[
                io.Model.Output(display_name="MODEL", tooltip="The model that follows the concept, for the sampler."),
                io.Conditioning.Output(
                    display_name="CONDITIONING",
                    tooltip="Both prompts, for the sampler's positive input, or for the next region. A "
                    "sampler that gets it without this node's MODEL says so.",
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
        live_preview: bool = False,
    ) -> io.NodeOutput:
        place = to_place(concepts, concept, start, freeze, shape, grow, feather, strength)
        region = Region(place, way, concepts.fingerprint())
        shown = SHOW_REGIONS if live_preview else ""
        acting = add_part(model, concepts, PromptsOfRegions(place.last_percent), shown)
        return io.NodeOutput(acting, add_region(conditioning, regional, region))


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
                    "latent",
                    tooltip="The latent from the sampler, before any other node changes it. A video may have lost "
                    "latent frames, as by Trim Video Latent or LTXVCropGuides.",
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
