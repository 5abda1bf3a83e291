"""The viewer: looking into a picture in the browser, and what was chosen there as outputs."""

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
            display_name="Look into Concepts (Viewer)",
            category=HEATMAPS,
            description="Shows in the node what every place of a picture is made of: point at it to read every "
            "concept's share, scrub through layers and steps, pick concepts and take their mask. What is chosen there "
            "stands in the inputs below, so that it is saved and works without a browser too.",
            search_aliases=["concept attention", "viewer", "interactive heatmap", "explore", "hover", "attention map"],
            is_output_node=True,
            inputs=[
                io.Image.Input("image", tooltip="The pictures that the recording or the heatmaps belong to."),
                CA_RECORDING.Input(
                    "recording",
                    optional=True,
                    tooltip="What was recorded while sampling, or of an existing picture. Connect this, or heatmaps.",
                ),
                CA_HEATMAPS.Input(
                    "heatmaps",
                    optional=True,
                    tooltip="Heatmaps that are finished, in place of a recording; layers and steps are chosen already.",
                ),
                io.String.Input(
                    "concepts",
                    default="",
                    optional=True,
                    tooltip="Names of the concepts that are picked, separated by commas; the mask is of them all. "
                    "Empty masks the first concept.",
                ),
                *reading_inputs(),
                *mask_inputs(),
                reading_mode_input(),
                temperature_input(),
            ],
            outputs=[
                io.Image.Output(display_name="IMAGE", tooltip="The pictures as they came in."),
                CA_HEATMAPS.Output(
                    display_name="heatmaps",
                    tooltip="Of the chosen layers and steps, as Concept Heatmaps makes them; heatmaps that came in "
                    "stay as they are.",
                ),
                io.Mask.Output(
                    display_name="MASK",
                    tooltip="Of the picked concepts, one mask per picture, as Concept Heatmaps to Mask makes it.",
                ),
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, **inputs: Any) -> str:
        return _folder().generation()  # files that are gone are written again, and nothing else runs it anew

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
        seen, found = _look(source, layers, steps, mode, temperature or None)
        names = convert.to_names(concepts, found.concepts)
        made = make_masks(found, names, method, threshold=threshold, percentile=percentile, per_frame=True)
        manifest = write_view(seen, convert.to_pictures(image), _folder(), ADDRESS)
        return io.NodeOutput(image, found, convert.to_mask(made), ui={"concept_viewer": [manifest]})


def _look(
    source: Recording | Heatmaps, layers: str, steps: str, mode: str, temperature: float | None
) -> tuple[ViewerMaps, Heatmaps]:
    """What can be looked at, and the heatmaps chosen."""
    if isinstance(source, Heatmaps):
        return maps_of_heatmaps(source), source
    return maps_of_recording(source, mode, temperature), make_heatmaps(source, layers, steps, mode, temperature)


def _folder() -> ViewerFolder:
    return ViewerFolder(Path(folder_paths.get_temp_directory()) / SUBFOLDER)
