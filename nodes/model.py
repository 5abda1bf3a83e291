"""The node that loads the embedded landscape model."""

from __future__ import annotations

from comfy_api.latest import io

from ..concept_attention.tiny.comfyui.loader import load_landscape
from .sockets import LOADERS


class ConceptAttentionTinyModel(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ConceptAttentionTinyModel",
            display_name="Load Landscape Model (Tiny Flux)",
            category=LOADERS,
            description="Loads the small Flux that comes with this pack. It generates simple landscapes of 256 x 256 "
            "pixels in seconds, even without a GPU, and needs no download. It knows only these words: house, tree, "
            "boat, car, balloon, flower, rock, mountain, sun, moon, cloud, sky, grass, sand, water, snow, some "
            "colours, day, night, sunset.",
            search_aliases=["concept attention", "tiny model", "demo model", "landscape", "checkpoint"],
            outputs=[
                io.Model.Output(display_name="MODEL", tooltip="The small Flux model."),
                io.Clip.Output(display_name="CLIP", tooltip="Its text encoders, for prompts and concepts."),
                io.Vae.Output(display_name="VAE", tooltip="Its VAE."),
            ],
        )

    @classmethod
    def execute(cls) -> io.NodeOutput:
        return io.NodeOutput(*load_landscape())
