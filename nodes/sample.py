"""Samplers that record: core's own, with the recording as one output more."""

from __future__ import annotations

from typing import Any

import comfy.samplers
from comfy_api.latest import io, ui

from ..concept_attention.choices import Keep
from ..concept_attention.hosts.comfyui.engine.settings import Settings
from ..concept_attention.hosts.comfyui.sampling import sample, sample_custom
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
    range_inputs,
    recording_mode_input,
)


def _recording_output() -> io.Output:
    return CA_RECORDING.Output(
        display_name="recording",
        tooltip="The score of every concept at every place, for every recorded step and layer.",
    )


class ConceptAttentionKSampler(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ConceptAttentionKSampler",
            display_name="KSampler with Concepts",
            category=SAMPLING,
            description="KSampler, and a recording of where the model places each concept. The latent is the same as "
            "KSampler's to the bit.",
            search_aliases=["concept attention", "ksampler", "sampler", "attention map", "heatmap"],
            has_intermediate_output=True,
            inputs=[
                io.Model.Input("model", tooltip="The model used for denoising the input latent."),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=LARGEST_SEED,
                    step=1,
                    control_after_generate=True,
                    tooltip="The random seed used for creating the noise.",
                ),
                io.Int.Input(
                    "steps",
                    default=20,
                    min=1,
                    max=10000,
                    step=1,
                    tooltip="The number of steps used in the denoising process.",
                ),
                io.Float.Input(
                    "cfg",
                    default=8.0,
                    min=0.0,
                    max=100.0,
                    step=0.1,
                    round=0.01,
                    tooltip="How closely the picture follows the positive against the negative prompt. Models with "
                    "guidance of their own, such as Flux, want 1.",
                ),
                io.Combo.Input(
                    "sampler_name",
                    options=comfy.samplers.KSampler.SAMPLERS,
                    tooltip="The algorithm used when sampling. It affects quality, speed and style.",
                ),
                io.Combo.Input(
                    "scheduler",
                    options=comfy.samplers.KSampler.SCHEDULERS,
                    tooltip="How noise is gradually removed to form the picture.",
                ),
                io.Conditioning.Input("positive", tooltip="What the picture should show."),
                io.Conditioning.Input("negative", tooltip="What the picture should not show."),
                io.Latent.Input("latent_image", tooltip="The latent to denoise."),
                io.Float.Input(
                    "denoise",
                    default=1.0,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="How much of the latent is denoised anew. Lower values keep the structure of the picture "
                    "in it.",
                ),
                concepts_input(),
                layers_input(),
                *range_inputs(),
                recording_mode_input(),
                live_preview_input(),
                keep_input(),
            ],
            outputs=[io.Latent.Output(display_name="LATENT", tooltip="The denoised latent."), _recording_output()],
        )

    @classmethod
    def execute(
        cls,
        model: Any,
        seed: int,
        steps: int,
        cfg: float,
        sampler_name: str,
        scheduler: str,
        positive: Any,
        negative: Any,
        latent_image: dict[str, Any],
        denoise: float,
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
        latent, recording = sample(
            model, wanted, seed, steps, cfg, sampler_name, scheduler, positive, negative, latent_image, denoise
        )
        return io.NodeOutput(latent, recording, ui=ui.PreviewText(report.recording_text(recording)))


class ConceptAttentionSamplerCustom(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ConceptAttentionSamplerCustom",
            display_name="SamplerCustomAdvanced with Concepts",
            category=SAMPLING,
            description="SamplerCustomAdvanced, and a recording of where the model places each concept. The latents "
            "are the same as SamplerCustomAdvanced's to the bit.",
            search_aliases=["concept attention", "custom sampler", "guider", "sigmas", "attention map", "heatmap"],
            has_intermediate_output=True,
            inputs=[
                io.Noise.Input("noise", tooltip="The noise to begin with."),
                io.Guider.Input("guider", tooltip="The model with its conditionings. It is not changed."),
                io.Sampler.Input("sampler", tooltip="The sampling algorithm."),
                io.Sigmas.Input("sigmas", tooltip="The noise levels to go through."),
                io.Latent.Input("latent_image", tooltip="The latent to denoise."),
                concepts_input(),
                layers_input(),
                *range_inputs(),
                recording_mode_input(),
                live_preview_input(),
                keep_input(),
            ],
            outputs=[
                io.Latent.Output(display_name="output", tooltip="The latent after the last step."),
                io.Latent.Output(
                    display_name="denoised_output",
                    tooltip="What the model took for the finished picture in the last step.",
                ),
                _recording_output(),
            ],
        )

    @classmethod
    def execute(
        cls,
        noise: Any,
        guider: Any,
        sampler: Any,
        sigmas: Any,
        latent_image: dict[str, Any],
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
        output, denoised, recording = sample_custom(noise, guider, sampler, sigmas, latent_image, wanted)
        return io.NodeOutput(output, denoised, recording, ui=ui.PreviewText(report.recording_text(recording)))
