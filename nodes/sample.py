"""Core's samplers with a recording as one more output."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io, ui

from ..concept_attention.choices import Keep
from ..concept_attention.heatmaps.presence import THRESHOLD
from ..concept_attention.hosts.comfyui.engine.settings import Settings
from ..concept_attention.hosts.comfyui.recording_cache import NothingRecorded
from ..concept_attention.hosts.comfyui.sampling import sample, sample_custom
from ..concept_attention.hosts.encoded import EncodedConcepts
from . import convert, named, report
from .sampler_inputs import sampler_inputs, stop_inputs
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


def _recording_output() -> io.Output:
    return CA_RECORDING.Output(
        display_name="recording",
        tooltip="Concept scores per image token, for every recorded step and layer.",
    )


class ConceptAttentionKSampler(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ConceptAttentionKSampler",
            display_name="KSampler with Concepts",
            category=SAMPLING,
            description="KSampler that also records where the model places each concept. The latent is bit-for-bit "
            "identical to KSampler's.",
            search_aliases=["concept attention", "ksampler", "sampler", "attention map", "heatmap"],
            has_intermediate_output=True,
            inputs=[
                *sampler_inputs(),
                concepts_input(),
                layers_input(),
                *range_inputs(),
                recording_mode_input(),
                live_preview_input(),
                keep_input(),
                *stop_inputs(),
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
        stop_if_absent: str = "",
        stop_after: float = 0.4,
        stop_below: float = THRESHOLD,
    ) -> io.NodeOutput:
        stop = named.to_stop_rule(stop_if_absent, stop_after, stop_below, concepts.concepts)
        preview = live_preview.strip()
        wanted = Settings(
            concepts, layers, start_percent, end_percent, mode, live_preview=preview, keep=keep, stop=stop
        )
        try:
            latent, recording = sample(
                model, wanted, seed, steps, cfg, sampler_name, scheduler, positive, negative, latent_image, denoise
            )
        except NothingRecorded as missing:
            return convert.to_output_without_recording(missing)
        return io.NodeOutput(latent, recording, ui=ui.PreviewText(report.recording_text(recording)))


class ConceptAttentionSamplerCustom(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ConceptAttentionSamplerCustom",
            display_name="SamplerCustomAdvanced with Concepts",
            category=SAMPLING,
            description="SamplerCustomAdvanced that also records where the model places each concept. The latents are "
            "bit-for-bit identical to SamplerCustomAdvanced's.",
            search_aliases=["concept attention", "custom sampler", "guider", "sigmas", "attention map", "heatmap"],
            has_intermediate_output=True,
            inputs=[
                io.Noise.Input("noise", tooltip="The initial noise."),
                io.Guider.Input("guider", tooltip="The model with its conditioning. It is not modified."),
                io.Sampler.Input("sampler", tooltip="The sampling algorithm."),
                io.Sigmas.Input("sigmas", tooltip="The noise levels of the steps."),
                io.Latent.Input("latent_image", tooltip="The latent to denoise."),
                concepts_input(),
                layers_input(),
                *range_inputs(),
                recording_mode_input(),
                live_preview_input(),
                keep_input(),
                *stop_inputs(),
            ],
            outputs=[
                io.Latent.Output(display_name="output", tooltip="The latent after the last step."),
                io.Latent.Output(
                    display_name="denoised_output",
                    tooltip="The model's prediction of the clean image at the last step.",
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
        stop_if_absent: str = "",
        stop_after: float = 0.4,
        stop_below: float = THRESHOLD,
    ) -> io.NodeOutput:
        stop = named.to_stop_rule(stop_if_absent, stop_after, stop_below, concepts.concepts)
        preview = live_preview.strip()
        wanted = Settings(
            concepts, layers, start_percent, end_percent, mode, live_preview=preview, keep=keep, stop=stop
        )
        try:
            output, denoised, recording = sample_custom(noise, guider, sampler, sigmas, latent_image, wanted)
        except NothingRecorded as missing:
            return convert.to_output_without_recording(missing)
        return io.NodeOutput(output, denoised, recording, ui=ui.PreviewText(report.recording_text(recording)))
