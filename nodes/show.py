"""Heatmaps as pictures to look at."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from comfy_api.latest import io
from torch import Tensor

from ..concept_attention.drawing.figures import layer_step_figure
from ..concept_attention.drawing.overlay import overlay_each, overlay_grid, overlay_segmentation
from ..concept_attention.heatmaps.heatmaps import Heatmaps
from ..concept_attention.recording.recording import Recording
from . import convert
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
            display_name="Overlay Concept Heatmaps",
            category=HEATMAPS,
            description="Draws heatmaps over the pictures they belong to.",
            search_aliases=[
                "concept attention",
                "show heatmaps",
                "visualize attention",
                "segmentation",
                "heatmap grid",
            ],
            inputs=[
                io.Image.Input(
                    "image",
                    tooltip="The pictures the heatmaps belong to, or all frames of the video: as many, and of the same "
                    "aspect.",
                ),
                CA_HEATMAPS.Input("heatmaps", tooltip="Heatmaps of any kind."),
                io.Combo.Input(
                    "layout",
                    options=list(LAYOUTS),
                    default=GRID,
                    optional=True,
                    tooltip="grid: all concepts side by side in one picture. one per concept: a batch of pictures. "
                    "segmentation: every place in the colour of the concept that wins it.",
                ),
                colormap_input(),
                io.Float.Input(
                    "opacity",
                    default=0.7,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    optional=True,
                    tooltip="0 shows only the picture, 1 only the colours.",
                ),
                io.Boolean.Input(
                    "legend",
                    default=True,
                    optional=True,
                    tooltip="Adds names and the colour scale around the picture, which becomes taller.",
                ),
            ],
            outputs=[
                io.Image.Output(
                    display_name="IMAGE",
                    tooltip="As many pictures as came in; with layout one per concept, one for every concept of each, "
                    "and of a video all its frames for the first concept, then for the next.",
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
    ) -> io.NodeOutput:
        options: dict[str, Any] = {"opacity": opacity, "legend": legend}
        if layout != SEGMENTATION:
            options["colormap"] = colormap
        matched = convert.match_pictures(image, heatmaps)
        drawn = [LAYOUTS[layout](picture, heatmaps, index, frame=frame, **options) for picture, index, frame in matched]
        by_concept = layout == EACH and heatmaps.video
        return io.NodeOutput(convert.to_images(drawn, heatmaps.batch) if by_concept else convert.to_image(drawn))


class ConceptHeatmapPlot(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ConceptHeatmapPlot",
            display_name="Plot Concept over Layers and Steps",
            category=HEATMAPS,
            description="Draws how one concept looks in every recorded layer and step, to choose layers and steps by.",
            search_aliases=["concept attention", "layer plot", "step plot", "attention per layer", "figure"],
            inputs=[
                CA_RECORDING.Input("recording", tooltip="What was recorded while sampling, or of an existing picture."),
                io.String.Input(
                    "concept",
                    default="",
                    optional=True,
                    tooltip="Name of the concept to draw. Empty takes the first.",
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
                    tooltip="Which latent frame of a video to draw; the first is 0. Pictures have only frame 0.",
                ),
            ],
            outputs=[io.Image.Output(display_name="IMAGE", tooltip="One figure per picture of the recording.")],
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
        name = convert.to_name(concept, recording.concepts)
        options: dict[str, Any] = {"mode": mode, "temperature": temperature or None, "colormap": colormap}
        drawn = [
            layer_step_figure(recording, name, picture, frame=frame, **options)
            for picture in range(recording.batch)
        ]
        return io.NodeOutput(convert.to_image(drawn))
