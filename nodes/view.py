"""The viewer: looking into a picture in the browser, and what was chosen there as outputs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import folder_paths
from comfy_api.latest import io

from . import convert
from .library import heatmaps as maps
from .library import masks, selection, viewer, viewer_files, viewer_maps
from .library import recording as recordings
from .sockets import HEATMAPS, Heatmaps, Recording, mask_inputs, reading_inputs, reading_mode_input, temperature_input

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
                Recording.Input(
                    "recording",
                    optional=True,
                    tooltip="What was recorded while sampling, or of an existing picture. Connect this, or heatmaps.",
                ),
                Heatmaps.Input(
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
                Heatmaps.Output(
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
        recording: recordings.Recording | None = None,
        heatmaps: maps.Heatmaps | None = None,
        concepts: str = "",
        layers: str = "auto",
        steps: str = "all",
        method: masks.Method = "soft",
        threshold: float = 0.5,
        percentile: float = 90.0,
        mode: str = "auto",
        temperature: float = 0.0,
    ) -> io.NodeOutput:
        source = convert.to_source(recording, heatmaps, layers, steps, mode, temperature)
        seen, found, used = _look(source, layers, steps, mode, temperature or None)
        names = convert.to_names(concepts, found.concepts)
        made = masks.make_masks(found, names, method, threshold=threshold, percentile=percentile, per_frame=True)
        choice = viewer.Choice(names, *used, method, threshold, percentile)
        manifest = viewer.write_view(seen, convert.to_pictures(image), choice, _folder(), ADDRESS)
        return io.NodeOutput(image, found, convert.to_mask(made), ui={"concept_viewer": [manifest]})


def _look(
    source: recordings.Recording | maps.Heatmaps, layers: str, steps: str, mode: str, temperature: float | None
) -> tuple[viewer_maps.ViewerMaps, maps.Heatmaps, tuple[tuple[int, ...], tuple[int, ...]]]:
    """What can be looked at, the heatmaps chosen, and the layers and steps that these are made of."""
    if isinstance(source, maps.Heatmaps):
        return viewer_maps.maps_of_heatmaps(source), source, ((), ())
    found = maps.make_heatmaps(source, layers, steps, mode, temperature)
    used = maps.select_layers(source, layers), selection.parse_steps(steps, len(source.steps))
    return viewer_maps.maps_of_recording(source, mode, temperature), found, used


def _folder() -> viewer_files.ViewerFolder:
    return viewer_files.ViewerFolder(Path(folder_paths.get_temp_directory()) / SUBFOLDER)
