"""Nodes that draw heatmaps as images."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from comfy_api.latest import io
from torch import Tensor

from ..concept_attention.choices import BLENDS, Blend
from ..concept_attention.drawing.figures import layer_step_figure
from ..concept_attention.drawing.overlay import overlay_each, overlay_grid, overlay_segmentation
from ..concept_attention.heatmaps.heatmaps import Heatmaps
from ..concept_attention.hosts.comfyui.device import on_torch_device
from ..concept_attention.recording.recording import Recording
from . import convert, named
from .sockets import CA_HEATMAPS, CA_RECORDING, HEATMAPS, colormap_input, reading_mode_input, temperature_input

EACH, GRID, SEGMENTATION = "one per concept", "grid", "segmentation"
LAYOUTS: dict[str, Callable[..., Tensor]] = {
    EACH: overlay_each,
    GRID: overlay_grid,
    SEGMENTATION: overlay_segmentation,
}


class ConceptHeatmapOverlay(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ConceptHeatmapOverlay",
            display_name="Visualize Concept Heatmaps",
            category=HEATMAPS,
            description="Draws heatmaps over the images that they belong to.",
            search_aliases=[
                "concept attention",
                "explain",
                "explain image",
                "visualize attention",
                "visualise heatmaps",
                "show heatmaps",
                "Overlay Concept Heatmaps",
                "segmentation",
                "heatmap grid",
            ],
            inputs=[
                io.Image.Input(
                    "image",
                    tooltip="The images that the heatmaps belong to, or all frames of the video: the same number, with "
                    "the same aspect ratio.",
                ),
                CA_HEATMAPS.Input("heatmaps", tooltip="Heatmaps of any kind."),
                io.Combo.Input(
                    "layout",
                    options=list(LAYOUTS),
                    default=GRID,
                    optional=True,
                    tooltip="grid: all concepts side by side in one image. one per concept: a batch with one image per "
                    "concept. segmentation: each pixel in the colour of the concept with the highest share.",
                ),
                colormap_input(),
                io.Float.Input(
                    "opacity",
                    default=0.7,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    optional=True,
                    tooltip="Opacity of the colours: 0 shows only the image, 1 only the colours. With blend by value "
                    "it is the opacity at the highest value.",
                ),
                io.Boolean.Input(
                    "legend",
                    default=True,
                    optional=True,
                    tooltip="Adds names and the colour scale. The image becomes taller.",
                ),
                io.Combo.Input(
                    "blend",
                    options=list(BLENDS),
                    default="by value",
                    optional=True,
                    tooltip="by value: the lower the value, the more of the image shows. even: the colours cover the "
                    "whole image alike. A segmentation is always even.",
                ),
            ],
            outputs=[
                io.Image.Output(
                    display_name="IMAGE",
                    tooltip="One image per input image. With layout one per concept: one per concept and input image; "
                    "for a video, all frames for the first concept, then all frames for the next.",
                )
            ],
        )

    @classmethod
    def execute(
        cls,
        image: Any,
        heatmaps: Heatmaps,
        layout: str = GRID,
        colormap: str = "viridis",
        opacity: float = 0.7,
        legend: bool = True,
        blend: Blend = "by value",
    ) -> io.NodeOutput:
        options: dict[str, Any] = {"opacity": opacity, "legend": legend}
        if layout != SEGMENTATION:
            options |= {"colormap": colormap, "blend": blend}
        draw, matched = LAYOUTS[layout], convert.match_images(image, heatmaps)
        drawn = [on_torch_device(draw, one, heatmaps, index, frame=frame, **options) for one, index, frame in matched]
        if layout == EACH and heatmaps.video:
            return io.NodeOutput(convert.to_image_by_concept(drawn, heatmaps.batch))
        return io.NodeOutput(convert.to_image(drawn))


class ConceptHeatmapPlot(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ConceptHeatmapPlot",
            display_name="Attention over Layers and Steps",
            category=HEATMAPS,
            description="Draws one concept's heatmap for every recorded layer and step. Use it to choose layers and "
            "steps for Concept Heatmaps.",
            search_aliases=[
                "concept attention",
                "attention map",
                "layer plot",
                "step plot",
                "attention per layer",
                "figure",
                "Plot Concept over Layers and Steps",
            ],
            inputs=[
                CA_RECORDING.Input("recording", tooltip="The recording to draw."),
                io.String.Input(
                    "concept",
                    default="",
                    optional=True,
                    tooltip="Name of the concept to draw. Empty: the first concept.",
                ),
                reading_mode_input(),
                temperature_input(),
                colormap_input(),
                io.Int.Input(
                    "frame",
                    default=0,
                    min=0,
                    max=10000,
                    step=1,
                    optional=True,
                    advanced=True,
                    tooltip="Latent frame of the video to draw; the first is 0. Images have only frame 0.",
                ),
            ],
            outputs=[io.Image.Output(display_name="IMAGE", tooltip="One figure per image of the recording.")],
        )

    @classmethod
    def execute(
        cls,
        recording: Recording,
        concept: str = "",
        mode: str = "auto",
        temperature: float = 0.0,
        colormap: str = "viridis",
        frame: int = 0,
    ) -> io.NodeOutput:
        name = named.to_name(concept, recording.concepts)
        options: dict[str, Any] = {"mode": mode, "temperature": temperature or None, "colormap": colormap}
        drawn = [layer_step_figure(recording, name, index, frame=frame, **options) for index in range(recording.batch)]
        return io.NodeOutput(convert.to_image(drawn))
