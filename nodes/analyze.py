"""The node that finds concepts in an existing image."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io, ui

from ..concept_attention.choices import Keep
from ..concept_attention.hosts.comfyui.analysis import analyze
from ..concept_attention.hosts.comfyui.engine.settings import Settings
from ..concept_attention.hosts.encoded import EncodedConcepts
from . import report
from .sockets import (
    CA_RECORDING,
    LARGEST_SEED,
    SAMPLING,
    concepts_input,
    keep_input,
    layers_input,
    live_preview_input,
    recording_mode_input,
)


class ConceptAttentionEncodeImage(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ConceptAttentionEncodeImage",
            display_name="Detect Concepts in Image",
            category=SAMPLING,
            description="Records where the concepts are in an existing image. It adds noise to the image and runs the "
            "model once per noise sample. Nothing is generated.",
            search_aliases=[
                "concept attention",
                "find object",
                "detect object",
                "segment",
                "existing image",
                "photo",
                "heatmap",
                "encode image",
                "Find Concepts in Image",
            ],
            has_intermediate_output=True,
            inputs=[
                io.Model.Input("model", tooltip="The model used for the analysis. It is not modified."),
                concepts_input(),
                io.Latent.Input("latent", tooltip="The image or video, from VAE Encode with the model's VAE."),
                io.Conditioning.Input(
                    "positive",
                    optional=True,
                    tooltip="A prompt that describes the image (optional). Without it, the model gets an empty prompt.",
                ),
                io.Float.Input(
                    "noise",
                    default=0.5,
                    min=0.01,
                    max=1.0,
                    step=0.01,
                    tooltip="Noise level (sigma): near 0 the image itself, 1 pure noise. 0.3 to 0.6 works best.",
                ),
                io.Int.Input(
                    "samples",
                    default=1,
                    min=1,
                    max=256,
                    step=1,
                    tooltip="Number of noise samples to average. More samples take longer and give smoother heatmaps.",
                ),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=LARGEST_SEED,
                    step=1,
                    control_after_generate=io.ControlAfterGenerate.fixed,  # the same result again while exploring
                    tooltip="Random seed of the first noise sample. Each further sample uses the next seed.",
                ),
                layers_input(),
                recording_mode_input(),
                live_preview_input(),
                keep_input(),
            ],
            outputs=[
                CA_RECORDING.Output(
                    display_name="recording",
                    tooltip="Concept scores per image token, one step per noise sample.",
                )
            ],
        )

    @classmethod
    def execute(
        cls,
        model: Any,
        concepts: EncodedConcepts,
        latent: dict[str, Any],
        noise: float,
        samples: int,
        seed: int,
        positive: Any = None,
        layers: str = "all",
        mode: str = "auto",
        live_preview: str = "",
        keep: Keep = "every step",
    ) -> io.NodeOutput:
        wanted = Settings(concepts, layers, mode=mode, live_preview=live_preview.strip(), keep=keep)
        result = analyze(model, wanted, latent, positive, noise, samples, seed)
        return io.NodeOutput(result, ui=ui.PreviewText(report.recording_text(result)))
