"""Recording the concepts of pictures that exist already."""

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
            display_name="Find Concepts in Image",
            category=SAMPLING,
            description="Records where the concepts are in a picture that exists already: noise is added to it, and "
            "the model looks at it once per noise sample. Nothing is sampled.",
            search_aliases=["concept attention", "encode image", "segment", "existing picture", "photo", "heatmap"],
            has_intermediate_output=True,
            inputs=[
                io.Model.Input("model", tooltip="The model that looks. It is not changed."),
                concepts_input(),
                io.Latent.Input("latent", tooltip="The picture, or video, from VAE Encode with the model's own VAE."),
                io.Conditioning.Input(
                    "positive",
                    optional=True,
                    tooltip="What the picture shows, if you want to say it. Without it the model reads an empty "
                    "prompt.",
                ),
                io.Float.Input(
                    "noise",
                    default=0.5,
                    min=0.01,
                    max=1.0,
                    step=0.01,
                    tooltip="Noise level the model looks at: near 0 is the picture itself, 1 is only noise. 0.3 to 0.6 "
                    "works best.",
                ),
                io.Int.Input(
                    "samples",
                    default=1,
                    min=1,
                    max=256,
                    step=1,
                    tooltip="How many different noises to look through. More take longer and give smoother heatmaps.",
                ),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=LARGEST_SEED,
                    step=1,
                    control_after_generate=io.ControlAfterGenerate.fixed,  # whoever explores wants the same look again
                    tooltip="The random seed of the first noise; each further one has the next seed.",
                ),
                layers_input(),
                recording_mode_input(),
                live_preview_input(),
                keep_input(),
            ],
            outputs=[
                CA_RECORDING.Output(
                    display_name="recording",
                    tooltip="The score of every concept at every place; its steps are the noises.",
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
