"""Nodes that record with any sampler: a patched MODEL, and the recording of a latent that it sampled."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io, ui

from ..concept_attention.choices import Keep
from ..concept_attention.heatmaps.heatmaps import make_heatmaps
from ..concept_attention.hosts.comfyui.device import on_torch_device
from ..concept_attention.hosts.comfyui.engine.settings import Settings
from ..concept_attention.hosts.comfyui.graph_place import who_asks
from ..concept_attention.hosts.comfyui.patching import collect, patch_model
from ..concept_attention.hosts.comfyui.recording_cache import NothingRecorded
from ..concept_attention.hosts.encoded import EncodedConcepts
from . import convert, report
from .sockets import (
    CA_HEATMAPS,
    CA_RECORDING,
    SAMPLING,
    concepts_input,
    keep_input,
    layers_input,
    live_preview_input,
    range_inputs,
    recording_mode_input,
    words_inputs,
)


class ConceptAttentionPatchModel(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ConceptAttentionPatchModel",
            display_name="Patch Model: Record Concepts",
            category=SAMPLING,
            description="Makes a model record where it places each concept, with any sampler. The sampled latent stays "
            "bit-for-bit identical. Write the words to locate here, or connect Encode Concepts. Connect the sampler's "
            "latent to Collect Concept Recording to get heatmaps.",
            search_aliases=[
                "concept attention",
                "cross attention",
                "attention map",
                "model patch",
                "record concepts",
                "Record Concepts (Patch Model)",
                "heatmap",
            ],
            inputs=[
                io.Model.Input("model", tooltip="The model to record, with all its LoRAs. It is not modified."),
                concepts_input(optional=True),
                layers_input(),
                *range_inputs(),
                recording_mode_input(),
                live_preview_input(),
                keep_input(),
                *words_inputs(),
            ],
            outputs=[io.Model.Output(display_name="MODEL", tooltip="The patched model, for a sampler or guider.")],
        )

    @classmethod
    def execute(
        cls,
        model: Any,
        concepts: EncodedConcepts | None = None,
        layers: str = "all",
        start_percent: float = 0.0,
        end_percent: float = 1.0,
        mode: str = "auto",
        live_preview: str = "",
        keep: Keep = "every step",
        clip: Any = None,
        words: str = "",
        background: str = "",
    ) -> io.NodeOutput:
        wanted = Settings(
            convert.to_concepts(concepts, clip, words, background),
            layers,
            start_percent,
            end_percent,
            mode,
            live_preview=live_preview.strip(),
            keep=keep,
        )
        return io.NodeOutput(patch_model(model, wanted))


class ConceptAttentionCollect(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ConceptAttentionCollect",
            display_name="Collect Concept Recording",
            category=SAMPLING,
            description="Gets the recording that a patched model made while it sampled this latent, and its heatmaps. "
            "Recordings stay in memory up to 1 GiB in total. A latent that no patched model sampled is an error.",
            search_aliases=["concept attention", "attention map", "get heatmaps", "concept recording"],
            has_intermediate_output=True,
            hidden=[io.Hidden.dynprompt],
            inputs=[
                io.Latent.Input(
                    "latent",
                    tooltip="The latent from the sampler, before any other node changes it. A video may have lost "
                    "latent frames, as by Trim Video Latent or LTXVCropGuides.",
                ),
                io.Model.Input(
                    "model",
                    optional=True,
                    tooltip="The patched model. Only needed if the same latent was sampled with different concepts.",
                ),
            ],
            outputs=[
                CA_RECORDING.Output(display_name="recording", tooltip="Concept scores per image token."),
                CA_HEATMAPS.Output(
                    display_name="heatmaps",
                    tooltip="One heatmap per concept and image, as Concept Heatmaps makes them by default.",
                ),
            ],
        )

    @classmethod
    def execute(cls, latent: dict[str, Any], model: Any = None) -> io.NodeOutput:
        try:
            result = collect(latent, model, who_asks(cls.hidden.dynprompt if cls.hidden else None, "latent"))
        except NothingRecorded as missing:
            return convert.to_output_without_recording(missing, blocked=2)
        heatmaps = on_torch_device(make_heatmaps, result)
        return io.NodeOutput(result, heatmaps, ui=ui.PreviewText(report.recording_text(result)))
