"""The node with the interactive viewer. What is chosen in the browser stands in its inputs and defines its outputs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import folder_paths
import torch
from comfy_api.latest import io

from ..concept_attention.choices import Method
from ..concept_attention.heatmaps.heatmaps import Heatmaps, make_heatmaps
from ..concept_attention.heatmaps.masks import make_masks
from ..concept_attention.hosts.comfyui.device import on_torch_device
from ..concept_attention.recording.recording import Recording
from ..concept_attention.viewer.folder import ViewerFolder
from ..concept_attention.viewer.manifest import write_view
from ..concept_attention.viewer.maps import maps_of_heatmaps, maps_of_recording
from . import convert, named
from .edited import paint_over
from .masks import sharpened
from .sockets import (
    CA_HEATMAPS,
    CA_RECORDING,
    HEATMAPS,
    finish_inputs,
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
                *_advanced(reading_inputs()),
                *_advanced(mask_inputs()),
                reading_mode_input(),
                temperature_input(),
                *finish_inputs(),
                io.Float.Input(
                    "blur",
                    default=0.0,
                    min=0.0,
                    max=256.0,
                    step=0.5,
                    optional=True,
                    advanced=True,
                    tooltip="Blurs the finished mask. Standard deviation of the Gaussian, in pixels.",
                ),
                io.Boolean.Input(
                    "guided",
                    display_name="follow edges",
                    default=False,
                    optional=True,
                    advanced=True,
                    tooltip="The mask follows the edges in the image, as with a guide in Mask from Concept Heatmaps.",
                ),
                io.String.Input(
                    "edited",
                    display_name="edited mask",
                    default="",
                    optional=True,
                    advanced=True,
                    tooltip="Masks painted in the mask editor, one per line: position in the batch (from 0), a colon, "
                    "and the file in the input folder. They replace the masks made from heatmaps. Empty: none.",
                ),
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
                    tooltip="Masks of the picked concepts, one per image, as from Mask from Concept Heatmaps.",
                ),
                io.Mask.Output(
                    display_name="masks",
                    tooltip="One mask for each picked concept, one after another: all images (or frames) of the first, "
                    "then of the next. Edited masks are not among them.",
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
        subtract: str = "",
        holes: float = 0.0,
        islands: float = 0.0,
        grow: int = 0,
        blur: float = 0.0,
        guided: bool = False,
        edited: str = "",
    ) -> io.NodeOutput:
        source = convert.to_source(recording, heatmaps, layers, steps, mode, temperature)
        divisor, images = temperature or None, convert.drop_alpha(image)
        chosen = _heatmaps_of(source, layers, steps, mode, divisor)
        names = named.to_names(concepts, chosen.concepts)
        without = named.to_some_names(subtract, chosen.concepts)
        options: dict[str, Any] = {"threshold": threshold, "percentile": percentile, "blur": blur, "grow": grow}
        options |= {"holes": holes, "islands": islands, "subtract": without, "per_frame": True}
        shown = sharpened(chosen, images, [*names, *without], method) if guided else chosen
        each = [convert.to_mask(on_torch_device(make_masks, shown, name, method, **options)) for name in names]
        one = len(names) == 1
        mask = each[0] if one else convert.to_mask(on_torch_device(make_masks, shown, names, method, **options))
        mask = paint_over(mask, edited)
        manifest = on_torch_device(_write, source, mode, divisor, images)
        return io.NodeOutput(image, chosen, mask, torch.cat(each), ui={"concept_viewer": [manifest]})


def _advanced(inputs: list[io.Input]) -> list[io.Input]:
    """The same inputs, folded away: the viewer has controls for them."""
    for given in inputs:
        given.advanced = True
    return inputs


def _heatmaps_of(
    source: Recording | Heatmaps, layers: str, steps: str, mode: str, temperature: float | None
) -> Heatmaps:
    """Those of a recording's chosen layers and steps, or the ones that are connected."""
    if isinstance(source, Heatmaps):
        return source
    return on_torch_device(make_heatmaps, source, layers, steps, mode, temperature)


def _write(
    source: Recording | Heatmaps, mode: str, temperature: float | None, images: Any, *, device: str | torch.device
) -> dict[str, Any]:
    """Write the files that the viewer reads; its manifest."""
    if isinstance(source, Heatmaps):
        maps = maps_of_heatmaps(source)
    else:
        maps = maps_of_recording(source, mode, temperature, device=device)
    return write_view(maps, images, _folder(), ADDRESS)


def _folder() -> ViewerFolder:
    return ViewerFolder(Path(folder_paths.get_temp_directory()) / SUBFOLDER)
