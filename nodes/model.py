"""The node that loads an embedded landscape model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from comfy_api.latest import io

from ..concept_attention.tiny.comfyui.loader import load_landscape
from ..concept_attention.tiny.comfyui.sd import load_landscape_sd
from ..concept_attention.tiny.comfyui.sd3 import load_landscape_sd3
from ..concept_attention.tiny.comfyui.video import load_landscape_video
from .sockets import LOADERS

LOADED: dict[str, Callable[[], tuple[Any, Any, Any]]] = {
    "tiny": load_landscape,
    "tiny-cogvideox": load_landscape_video,
    "tiny-sd3": load_landscape_sd3,
    "tiny-sd": load_landscape_sd,
}


class ConceptAttentionTinyModel(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ConceptAttentionTinyModel",
            display_name="Load Landscape Model",
            category=LOADERS,
            description="Loads a small model that comes with this pack: a Flux or a Stable Diffusion for images, or a "
            "CogVideoX for videos. It generates simple landscapes in seconds, even without a GPU, and needs no "
            "download. It knows only these words: house, tree, boat, car, balloon, flower, rock, mountain, sun, moon, "
            "cloud, sky, grass, sand, water, snow, some colours, day, night, sunset.",
            search_aliases=["concept attention", "tiny model", "demo model", "landscape", "checkpoint"],
            inputs=[
                io.Combo.Input(
                    "model",
                    options=list(LOADED),
                    default="tiny",
                    optional=True,
                    tooltip="tiny: a Flux, images of 256 x 256 pixels. tiny-cogvideox: a CogVideoX, videos of 128 x "
                    "128 pixels with one latent frame for each frame. tiny-sd3: a Stable Diffusion 3, images of 128 "
                    "x 128 pixels. tiny-sd: a Stable Diffusion 2, of the same size; nobody taught it where concepts "
                    "are.",
                )
            ],
            outputs=[
                io.Model.Output(display_name="MODEL", tooltip="The small model."),
                io.Clip.Output(display_name="CLIP", tooltip="Its text encoders, for prompts and concepts."),
                io.Vae.Output(display_name="VAE", tooltip="Its VAE."),
            ],
        )

    @classmethod
    def execute(cls, model: str = "tiny") -> io.NodeOutput:
        return io.NodeOutput(*LOADED[model]())
