"""The node that makes masks from heatmaps."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io, ui

from ..concept_attention.choices import Method
from ..concept_attention.heatmaps.guided import EPSILON, sharpen_heatmaps
from ..concept_attention.heatmaps.heatmaps import Heatmaps
from ..concept_attention.heatmaps.masks import make_masks
from ..concept_attention.hosts.comfyui.device import on_torch_device
from . import convert, named, report
from .sockets import CA_HEATMAPS, HEATMAPS, finish_inputs, mask_inputs

VIDEO_FRAMES, LATENT_FRAMES = "picture", "latent"  # options in saved graphs: they keep their names


class ConceptHeatmapToMask(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ConceptHeatmapToMask",
            display_name="Mask from Concept Heatmaps (Segment)",
            category=HEATMAPS,
            description="Makes one mask per image from the heatmaps of one or more concepts. With a guide image, the "
            "mask follows the edges in that image.",
            search_aliases=[
                "concept attention",
                "text to mask",
                "prompt to mask",
                "word to mask",
                "select object",
                "concept mask",
                "attention mask",
                "inpaint mask",
                "Concept Heatmaps to Mask (Segment)",
            ],
            has_intermediate_output=True,
            inputs=[
                CA_HEATMAPS.Input(
                    "heatmaps",
                    tooltip="Heatmaps of kind share or presence. The methods mean, otsu and percentile take any kind.",
                ),
                io.String.Input(
                    "concepts",
                    default="",
                    optional=True,
                    tooltip="Names of the concepts to mask, separated by commas. Several names make one combined mask. "
                    "Empty: the first concept.",
                ),
                *mask_inputs(),
                io.Float.Input(
                    "blur",
                    default=0.0,
                    min=0.0,
                    max=256.0,
                    step=0.5,
                    optional=True,
                    tooltip="Blurs the finished mask. Standard deviation of the Gaussian, in pixels.",
                ),
                io.Image.Input(
                    "guide",
                    optional=True,
                    tooltip="The image that the heatmaps belong to, or another one of the same aspect ratio. The mask "
                    "then follows its edges. For a video, connect all of its frames.",
                ),
                io.Int.Input(
                    "width",
                    default=0,
                    min=0,
                    max=16384,
                    step=8,
                    optional=True,
                    advanced=True,
                    tooltip="Width of the mask in pixels. 0 keeps the aspect ratio. If both are 0, the mask has the "
                    "size of the image.",
                ),
                io.Int.Input(
                    "height",
                    default=0,
                    min=0,
                    max=16384,
                    step=8,
                    optional=True,
                    advanced=True,
                    tooltip="Height of the mask in pixels. 0 keeps the aspect ratio. If both are 0, the mask has the "
                    "size of the image.",
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
                    tooltip="Filter radius in pixels of the mask. 0 means one and a half tokens.",
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
                    tooltip="Colour variance below which an area counts as flat. Lower values follow fainter edges, "
                    "and also the grain.",
                ),
                io.Combo.Input(
                    "frames",
                    options=[VIDEO_FRAMES, LATENT_FRAMES],
                    default=VIDEO_FRAMES,
                    optional=True,
                    advanced=True,
                    tooltip="For videos. picture: one mask per video frame. latent: one mask per latent frame, which "
                    "Set Latent Noise Mask needs.",
                ),
                *finish_inputs(),
            ],
            outputs=[
                io.Mask.Output(
                    display_name="MASK",
                    tooltip="One mask per image, 1 where the concept is. The frames of a video follow one another.",
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
        frames: str = VIDEO_FRAMES,
        subtract: str = "",
        holes: float = 0.0,
        islands: float = 0.0,
        grow: int = 0,
    ) -> io.NodeOutput:
        names = named.to_names(concepts, heatmaps.concepts)
        without = named.to_some_names(subtract, heatmaps.concepts)
        size = convert.to_size(width, height, heatmaps.image_size)
        if guide is not None:
            images = _guides(guide, frames == LATENT_FRAMES, heatmaps)
            edges = (size, guide_radius or None, guide_epsilon)
            heatmaps = sharpened(heatmaps, images, [*names, *without], method, *edges)
        options: dict[str, Any] = {"threshold": threshold, "percentile": percentile, "blur": blur, "size": size}
        options |= {"holes": holes, "islands": islands, "grow": grow, "subtract": without}
        mask = on_torch_device(make_masks, heatmaps, names, method, **options, per_frame=frames == VIDEO_FRAMES)
        mask = convert.to_mask(mask)
        return io.NodeOutput(mask, ui=ui.PreviewText(report.mask_text(names, mask)))


def sharpened(
    heatmaps: Heatmaps,
    images: Any,
    concepts: list[str],
    method: Method,
    size: tuple[int, int] | None = None,
    radius: int | None = None,
    epsilon: float = EPSILON,
) -> Heatmaps:
    """Heatmaps whose edges follow the images, of what a mask of these concepts looks at: `argmax` compares all."""
    wanted = None if method == "argmax" else concepts
    options = {"concepts": wanted, "radius": radius, "epsilon": epsilon}
    return on_torch_device(sharpen_heatmaps, heatmaps, images, size, **options)


def _guides(guide: Any, latent_frames: bool, heatmaps: Heatmaps) -> Any:
    """The images of a guide; for a video, one for each latent frame, or for each video frame."""
    images = convert.drop_alpha(guide)
    return convert.one_per_latent_frame(images, heatmaps) if latent_frames else images
