"""The node with the interactive viewer. What is chosen in the browser stands in its inputs and defines its outputs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import folder_paths
from comfy_api.latest import io

from ..concept_attention.choices import Method
from ..concept_attention.heatmaps.heatmaps import Heatmaps, make_heatmaps
from ..concept_attention.heatmaps.masks import make_masks
from ..concept_attention.recording.recording import Recording
from ..concept_attention.viewer.folder import ViewerFolder
from ..concept_attention.viewer.manifest import write_view
from ..concept_attention.viewer.maps import ViewerMaps, maps_of_heatmaps, maps_of_recording
from . import convert
from .sockets import (
    CA_HEATMAPS,
    CA_RECORDING,
    HEATMAPS,
    mask_inputs,
    reading_inputs,
    reading_mode_input,
    temperature_input,
)

SUBFOLDER = "concept_attention"  # of ComfyUI's temporary folder, which it empties itself
ADDRESS = {"subfolder": SUBFOLDER, "type": "temp"}


class ConceptHeatmapViewer(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ConceptHeatmapViewer",
            display_name="Concept Viewer",
            category=HEATMAPS,
            description="Interactive viewer: hover over the image to read every concept's share, scrub through layers "
            "and steps, pick concepts and get their mask. Your choices are stored in the inputs below, so they are "
            "saved with the workflow and also work without a browser.",
            search_aliases=[
                "concept attention",
                "viewer",
                "interactive heatmap",
                "explore",
                "hover",
                "attention map",
                "Look into Concepts (Viewer)",
            ],
            is_output_node=True,
            inputs=[
                io.Image.Input("image", tooltip="The images that the recording or the heatmaps belong to."),
                CA_RECORDING.Input(
                    "recording",
                    optional=True,
                    tooltip="The recording to explore. Connect either this or heatmaps.",
                ),
                CA_HEATMAPS.Input(
                    "heatmaps",
                    optional=True,
                    tooltip="Finished heatmaps instead of a recording. Their layers and steps cannot be changed.",
                ),
                io.String.Input(
                    "concepts",
                    default="",
                    optional=True,
                    tooltip="Names of the picked concepts, separated by commas. The mask covers all of them. Empty: "
                    "the first concept.",
                ),
                *reading_inputs(),
                *mask_inputs(),
                reading_mode_input(),
                temperature_input(),
            ],
            outputs=[
                io.Image.Output(display_name="IMAGE", tooltip="The input images, unchanged."),
                CA_HEATMAPS.Output(
                    display_name="heatmaps",
                    tooltip="Heatmaps of the chosen layers and steps, as from Concept Heatmaps. Connected heatmaps "
                    "pass through unchanged.",
                ),
                io.Mask.Output(
                    display_name="MASK",
                    tooltip="Masks of the picked concepts, one per image, as from Concept Heatmaps to Mask.",
                ),
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, **inputs: Any) -> str:
        return _folder().generation()  # changes only when files were removed, so that they are written again

    @classmethod
    def execute(
        cls,
        image: Any,
        recording: Recording | None = None,
        heatmaps: Heatmaps | None = None,
        concepts: str = "",
        layers: str = "auto",
        steps: str = "all",
        method: Method = "soft",
        threshold: float = 0.5,
        percentile: float = 90.0,
        mode: str = "auto",
        temperature: float = 0.0,
    ) -> io.NodeOutput:
        source = convert.to_source(recording, heatmaps, layers, steps, mode, temperature)
        maps, chosen = _maps_and_heatmaps(source, layers, steps, mode, temperature or None)
        names = convert.to_names(concepts, chosen.concepts)
        masks = make_masks(chosen, names, method, threshold=threshold, percentile=percentile, per_frame=True)
        manifest = write_view(maps, convert.drop_alpha(image), _folder(), ADDRESS)
        return io.NodeOutput(image, chosen, convert.to_mask(masks), ui={"concept_viewer": [manifest]})


def _maps_and_heatmaps(
    source: Recording | Heatmaps, layers: str, steps: str, mode: str, temperature: float | None
) -> tuple[ViewerMaps, Heatmaps]:
    """The maps that the viewer can show, and the heatmaps of the chosen layers and steps."""
    if isinstance(source, Heatmaps):
        return maps_of_heatmaps(source), source
    return maps_of_recording(source, mode, temperature), make_heatmaps(source, layers, steps, mode, temperature)


def _folder() -> ViewerFolder:
    return ViewerFolder(Path(folder_paths.get_temp_directory()) / SUBFOLDER)
