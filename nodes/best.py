"""The node that samples several seeds until presence is known, and finishes the best one."""

from __future__ import annotations

import functools
from typing import Any

from comfy_api.latest import io, ui

from ..concept_attention.hosts.comfyui.best_of import choose_best, report_best, sample_best
from ..concept_attention.hosts.comfyui.engine.settings import Settings
from ..concept_attention.hosts.comfyui.recording_cache import NothingRecorded
from ..concept_attention.hosts.comfyui.sampling import sample
from ..concept_attention.hosts.encoded import EncodedConcepts
from . import convert, named
from .sampler_inputs import sampler_inputs
from .sockets import CA_RECORDING, SAMPLING, concepts_input


class ConceptBestOf(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ConceptBestOf",
            display_name="Best Seed by Concepts",
            category=SAMPLING,
            description="Samples several seeds for a part of their steps, sees which has what was asked for, and "
            "finishes only the best one. Its latent is bit-for-bit KSampler's with that seed.",
            search_aliases=[
                "concept attention",
                "best of N",
                "re-roll",
                "seed search",
                "retry",
                "ksampler",
                "pick the best image",
            ],
            has_intermediate_output=True,
            inputs=[
                *sampler_inputs(),
                concepts_input(),
                io.Int.Input(
                    "seeds", default=4, min=1, max=1000, step=1, tooltip="How many seeds to try, from seed on."
                ),
                io.String.Input(
                    "wanted",
                    default="",
                    optional=True,
                    tooltip="Names of the concepts that must be there, separated by commas. Empty: all but the "
                    "background. The best seed is the one whose least present concept is most present.",
                ),
                io.Float.Input(
                    "part",
                    default=0.4,
                    min=0.01,
                    max=1.0,
                    step=0.01,
                    optional=True,
                    tooltip="Part of the steps that each seed is sampled for before they are compared.",
                ),
            ],
            outputs=[
                io.Latent.Output(display_name="LATENT", tooltip="The denoised latent of the best seed."),
                CA_RECORDING.Output(display_name="recording", tooltip="The recording of the best seed."),
                io.Int.Output(display_name="seed", tooltip="The best seed."),
                io.String.Output(display_name="report", tooltip="Every seed with its scores, and the steps saved."),
            ],
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
        seeds: int,
        wanted: str = "",
        part: float = 0.4,
    ) -> io.NodeOutput:
        run = functools.partial(
            sample, model, steps=steps, cfg=cfg, sampler_name=sampler_name, scheduler=scheduler, positive=positive,
            negative=negative, latent=latent_image, denoise=denoise,
        )  # fmt: skip
        names = named.to_wanted(wanted, concepts.concepts)
        try:
            latent, recording, trials = sample_best(run, Settings(concepts), seed, seeds, names, part)
        except NothingRecorded as missing:
            return convert.to_output_without_recording(missing, 4 - len(missing.outputs))
        text = report_best(trials)
        return io.NodeOutput(latent, recording, choose_best(trials).seed, text, ui=ui.PreviewText(text))
