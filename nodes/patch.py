"""Nodes that record with any sampler: a patched MODEL, and the recording of a latent that it sampled."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io, ui

from ..concept_attention.choices import Keep
from ..concept_attention.hosts.comfyui.engine.settings import Settings
from ..concept_attention.hosts.comfyui.patching import collect, patch_model
from ..concept_attention.hosts.encoded import EncodedConcepts
from . import report
from .sockets import (
    CA_RECORDING,
    SAMPLING,
    concepts_input,
    keep_input,
    layers_input,
    live_preview_input,
    range_inputs,
    recording_mode_input,
)


class ConceptAttentionPatchModel(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ConceptAttentionPatchModel",
            display_name="Patch Model: Record Concepts",
            category=SAMPLING,
            description="Makes a model record where it places each concept, with any sampler. The sampled latent stays "
            "bit-for-bit identical. Connect the sampler's latent to Collect Concept Recording to get the recording.",
            search_aliases=[
                "concept attention",
                "attention map",
                "model patch",
                "record concepts",
                "Record Concepts (Patch Model)",
                "heatmap",
            ],
            inputs=[
                io.Model.Input("model", tooltip="The model to record, with all its LoRAs. It is not modified."),
                concepts_input(),
                layers_input(),
                *range_inputs(),
                recording_mode_input(),
                live_preview_input(),
                keep_input(),
            ],
            outputs=[io.Model.Output(display_name="MODEL", tooltip="The patched model, for a sampler or guider.")],
        )

    @classmethod
    def execute(
        cls,
        model: Any,
        concepts: EncodedConcepts,
        layers: str = "all",
        start_percent: float = 0.0,
        end_percent: float = 1.0,
        mode: str = "auto",
        live_preview: str = "",
        keep: Keep = "every step",
    ) -> io.NodeOutput:
        wanted = Settings(
            concepts, layers, start_percent, end_percent, mode, live_preview=live_preview.strip(), keep=keep
        )
        return io.NodeOutput(patch_model(model, wanted))


class ConceptAttentionCollect(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ConceptAttentionCollect",
            display_name="Collect Concept Recording",
            category=SAMPLING,
            description="Gets the recording that a patched model made while it sampled this latent. The latest 8 "
            "recordings stay in memory, up to 512 MiB in total. A latent that no patched model sampled is an error.",
            search_aliases=["concept attention", "attention map", "get heatmaps", "concept recording"],
            has_intermediate_output=True,
            inputs=[
                io.Latent.Input(
                    "latent", tooltip="The latent directly from the sampler, before any other node changes it."
                ),
                io.Model.Input(
                    "model",
                    optional=True,
                    tooltip="The patched model. Only needed if the same latent was sampled with different concepts.",
                ),
            ],
            outputs=[CA_RECORDING.Output(display_name="recording", tooltip="Concept scores per image token.")],
        )

    @classmethod
    def execute(cls, latent: dict[str, Any], model: Any = None) -> io.NodeOutput:
        result = collect(latent, model)
        return io.NodeOutput(result, ui=ui.PreviewText(report.recording_text(result)))
