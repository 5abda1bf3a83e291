"""From heatmaps to masks."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io, ui

from ..concept_attention.choices import Method
from ..concept_attention.heatmaps.guided import EPSILON, sharpen_heatmaps
from ..concept_attention.heatmaps.heatmaps import Heatmaps
from ..concept_attention.heatmaps.masks import make_masks
from . import convert, report
from .sockets import CA_HEATMAPS, HEATMAPS, mask_inputs

PICTURE_FRAMES, LATENT_FRAMES = "picture", "latent"


class ConceptHeatmapToMask(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ConceptHeatmapToMask",
            display_name="Concept Heatmaps to Mask",
            category=HEATMAPS,
            description="Makes a mask of one concept, or of several together, for every picture. With a guide the mask "
            "follows the edges in that picture.",
            search_aliases=["concept attention", "concept mask", "attention mask", "segment", "inpaint mask"],
            has_intermediate_output=True,
            inputs=[
                CA_HEATMAPS.Input(
                    "heatmaps", tooltip="Heatmaps of kind share; of any kind for the methods mean, otsu and percentile."
                ),
                io.String.Input(
                    "concepts",
                    default="",
                    optional=True,
                    tooltip="Names of the concepts to mask, separated by commas; several give one mask of them all. "
                    "Empty takes the first concept.",
                ),
                *mask_inputs(),
                io.Float.Input(
                    "blur",
                    default=0.0,
                    min=0.0,
                    max=256.0,
                    step=0.5,
                    optional=True,
                    tooltip="Softens the finished mask: standard deviation of a Gaussian, in pixels.",
                ),
                io.Image.Input(
                    "guide",
                    optional=True,
                    tooltip="The picture the heatmaps belong to, or any of the same aspect. The mask then follows its "
                    "edges. Of a video all its frames.",
                ),
                io.Int.Input(
                    "width",
                    default=0,
                    min=0,
                    max=16384,
                    step=8,
                    optional=True,
                    advanced=True,
                    tooltip="Width of the mask in pixels. 0 follows the height; both 0 is the picture's own size.",
                ),
                io.Int.Input(
                    "height",
                    default=0,
                    min=0,
                    max=16384,
                    step=8,
                    optional=True,
                    advanced=True,
                    tooltip="Height of the mask in pixels. 0 follows the width; both 0 is the picture's own size.",
                ),
                io.Int.Input(
                    "guide_radius",
                    display_name="guide radius",
                    default=0,
                    min=0,
                    max=1024,
                    step=1,
                    optional=True,
                    advanced=True,
                    tooltip="How far the guide reaches, in pixels of the mask. 0 is one and a half tokens.",
                ),
                io.Float.Input(
                    "guide_epsilon",
                    display_name="guide epsilon",
                    default=EPSILON,
                    min=0.00001,
                    max=1.0,
                    step=0.00001,
                    round=0.00001,
                    optional=True,
                    advanced=True,
                    tooltip="Colour variance that is no edge yet. Lower follows fainter edges, and the grain as well.",
                ),
                io.Combo.Input(
                    "frames",
                    options=[PICTURE_FRAMES, LATENT_FRAMES],
                    default=PICTURE_FRAMES,
                    optional=True,
                    advanced=True,
                    tooltip="Of a video. picture: one mask for each frame of the video. latent: one for each frame of "
                    "the latent, as Set Latent Noise Mask takes them.",
                ),
            ],
            outputs=[
                io.Mask.Output(
                    display_name="MASK",
                    tooltip="One mask per picture, 1 where the concept is; the frames of a video one after another.",
                )
            ],
        )

    @classmethod
    def execute(
        cls,
        heatmaps: Heatmaps,
        concepts: str = "",
        method: Method = "soft",
        threshold: float = 0.5,
        percentile: float = 90.0,
        blur: float = 0.0,
        guide: Any = None,
        width: int = 0,
        height: int = 0,
        guide_radius: int = 0,
        guide_epsilon: float = EPSILON,
        frames: str = PICTURE_FRAMES,
    ) -> io.NodeOutput:
        names = convert.to_names(concepts, heatmaps.concepts)
        size = convert.to_size(width, height, heatmaps.image_size)
        if guide is not None:
            pictures, radius = convert.to_pictures(guide), guide_radius or None
            if frames == LATENT_FRAMES:
                pictures = convert.latent_pictures(pictures, heatmaps)
            heatmaps = sharpen_heatmaps(heatmaps, pictures, size, radius=radius, epsilon=guide_epsilon)
        cut: dict[str, Any] = {"threshold": threshold, "percentile": percentile, "blur": blur, "size": size}
        mask = make_masks(heatmaps, names, method, **cut, per_frame=frames == PICTURE_FRAMES)
        mask = convert.to_mask(mask)
        return io.NodeOutput(mask, ui=ui.PreviewText(report.mask_text(names, mask)))
