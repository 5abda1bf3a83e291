"""What the nodes take from the library.

ComfyUI gives this pack the path of its folder for a name, so the nodes reach the library by climbing out of their own
folder. mypy takes the checkout for the top and cannot climb, so it reads the very same modules by their full names.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from concept_attention import (
        averaging,
        concepts,
        figures,
        guided,
        heatmaps,
        images,
        masks,
        overlay,
        recording,
        recording_file,
        scores,
        selection,
        summary,
        viewer,
        viewer_files,
        viewer_maps,
    )
    from concept_attention.hosts import encoded
    from concept_attention.hosts.comfyui import analysis, landscape, patching, sampling, settings, text
else:
    from ..concept_attention import (
        averaging,
        concepts,
        figures,
        guided,
        heatmaps,
        images,
        masks,
        overlay,
        recording,
        recording_file,
        scores,
        selection,
        summary,
        viewer,
        viewer_files,
        viewer_maps,
    )
    from ..concept_attention.hosts import encoded
    from ..concept_attention.hosts.comfyui import analysis, landscape, patching, sampling, settings, text

__all__ = [
    "analysis",
    "averaging",
    "concepts",
    "encoded",
    "figures",
    "guided",
    "heatmaps",
    "images",
    "landscape",
    "masks",
    "overlay",
    "patching",
    "recording",
    "recording_file",
    "sampling",
    "scores",
    "selection",
    "settings",
    "summary",
    "text",
    "viewer",
    "viewer_files",
    "viewer_maps",
]
