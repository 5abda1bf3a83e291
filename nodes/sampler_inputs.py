"""Inputs of the nodes that sample: KSampler's own, and when a run ends early."""

from __future__ import annotations

import comfy.samplers
from comfy_api.latest import io

from ..concept_attention.heatmaps.presence import THRESHOLD
from .sockets import LARGEST_SEED


def sampler_inputs() -> list[io.Input]:
    """The inputs of KSampler."""
    return [
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
            tooltip="Classifier-free guidance scale: how strongly the image follows the prompt. Use 1 for "
            "guidance-distilled models such as Flux.",
        ),
        io.Combo.Input(
            "sampler_name",
            options=comfy.samplers.KSampler.SAMPLERS,
            tooltip="The sampling algorithm. It affects quality, speed and style.",
        ),
        io.Combo.Input(
            "scheduler",
            options=comfy.samplers.KSampler.SCHEDULERS,
            tooltip="The noise schedule: how noise is gradually removed to form the image.",
        ),
        io.Conditioning.Input("positive", tooltip="What the image should show."),
        io.Conditioning.Input("negative", tooltip="What the image should not show."),
        io.Latent.Input("latent_image", tooltip="The latent to denoise."),
        io.Float.Input(
            "denoise",
            default=1.0,
            min=0.0,
            max=1.0,
            step=0.01,
            tooltip="The amount of denoising. Lower values keep the structure of the input image.",
        ),
    ]


def stop_inputs() -> list[io.Input]:
    """When a run ends early."""
    return [
        io.String.Input(
            "stop_if_absent",
            display_name="stop if absent",
            default="",
            optional=True,
            tooltip="Names of concepts, separated by commas. The run ends early, without an error, if one of them is "
            "absent after the part of the steps below. Empty: the run never ends early.",
        ),
        io.Float.Input(
            "stop_after",
            display_name="stop after",
            default=0.4,
            min=0.01,
            max=1.0,
            step=0.01,
            optional=True,
            advanced=True,
            tooltip="Part of the steps after which presence is checked, once. Only used with stop if absent.",
        ),
        io.Float.Input(
            "stop_below",
            display_name="stop below",
            default=THRESHOLD,
            min=0.0,
            max=1.0,
            step=0.01,
            optional=True,
            advanced=True,
            tooltip="A concept is absent if its presence in that step, 0 to 1, is below this.",
        ),
    ]
