"""Recording with any sampler: a MODEL that records, and the recording of what it sampled."""

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
            display_name="Record Concepts (Patch Model)",
            category=SAMPLING,
            description="Lets a model record where it places each concept, whatever sampler it is used with. What is "
            "sampled stays the same to the bit. Collect Concept Recording takes the recording from the sampler's "
            "latent.",
            search_aliases=["concept attention", "attention map", "model patch", "record concepts", "heatmap"],
            inputs=[
                io.Model.Input("model", tooltip="The model to look into, with all its LoRAs. It is not changed."),
                concepts_input(),
                layers_input(),
                *range_inputs(),
                recording_mode_input(),
                live_preview_input(),
                keep_input(),
            ],
            outputs=[io.Model.Output(display_name="MODEL", tooltip="Connect it to the sampler or guider.")],
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
            description="Finds what a patched model recorded while it sampled this latent. The 8 latest recordings are "
            "kept in memory, 512 MiB at most; a latent that no patched model sampled is an error.",
            search_aliases=["concept attention", "attention map", "get heatmaps", "concept recording"],
            has_intermediate_output=True,
            inputs=[
                io.Latent.Input(
                    "latent", tooltip="The latent as it leaves the sampler, before anything else changes it."
                ),
                io.Model.Input(
                    "model",
                    optional=True,
                    tooltip="The patched model. Only needed where the same latent was sampled with different concepts.",
                ),
            ],
            outputs=[
                CA_RECORDING.Output(display_name="recording", tooltip="The score of every concept at every place.")
            ],
        )

    @classmethod
    def execute(cls, latent: dict[str, Any], model: Any = None) -> io.NodeOutput:
        result = collect(latent, model)
        return io.NodeOutput(result, ui=ui.PreviewText(report.recording_text(result)))
