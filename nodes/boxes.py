"""The node that turns heatmaps into boxes, points and crops for detectors and detailers."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io, ui

from ..concept_attention.heatmaps.heatmaps import Heatmaps
from ..concept_attention.heatmaps.instances import find_instances
from . import convert, detections, named, report
from .sockets import CA_HEATMAPS, HEATMAPS, threshold_input

SEGS = io.Custom("SEGS")  # of the Impact Pack


class ConceptBoxes(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ConceptBoxes",
            display_name="Concept Boxes",
            category=HEATMAPS,
            description="Finds each separate thing in the heatmaps of a concept and gives its box, point, mask and "
            "crop, in the forms that SAM3 Detect, SAM3 Video Track and detailers take.",
            search_aliases=[
                "concept attention",
                "bounding box",
                "bbox",
                "SAM3",
                "points",
                "detect",
                "crop",
                "SEGS",
                "detailer",
            ],
            has_intermediate_output=True,
            inputs=[
                CA_HEATMAPS.Input("heatmaps", tooltip="Heatmaps of kind share or presence."),
                io.String.Input(
                    "concepts",
                    default="",
                    optional=True,
                    tooltip="Names of the concepts, separated by commas. Empty: the first concept.",
                ),
                threshold_input("A thing is a connected area where the heatmap is above this."),
                io.Image.Input(
                    "image", optional=True, tooltip="The image that the heatmaps belong to. Only needed for crops."
                ),
                io.Float.Input(
                    "smallest",
                    default=0.5,
                    min=0.0,
                    max=100.0,
                    step=0.1,
                    optional=True,
                    tooltip="Smaller things are left out. In percent of the image.",
                ),
                io.Int.Input(
                    "most",
                    default=16,
                    min=1,
                    max=1000,
                    step=1,
                    optional=True,
                    tooltip="Number of things of each concept in each image, the largest first.",
                ),
                io.Int.Input(
                    "padding",
                    default=0,
                    min=0,
                    max=4096,
                    step=1,
                    optional=True,
                    tooltip="Pixels added to every side of a box, within the image.",
                ),
            ],
            outputs=[
                io.BoundingBox.Output(
                    display_name="bboxes", tooltip="Boxes in pixels, one list per image, for SAM3 Detect and others."
                ),
                io.String.Output(
                    display_name="positive_coords",
                    tooltip="One point in each thing of the first image, as JSON, for SAM3 Detect.",
                ),
                io.String.Output(
                    display_name="negative_coords",
                    tooltip="The strongest point of every other concept in the first image, as JSON, for SAM3 Detect.",
                ),
                io.Mask.Output(
                    display_name="masks",
                    tooltip="One mask per thing in the first image or frame, for initial_mask of SAM3 Video Track.",
                ),
                io.Image.Output(
                    display_name="crops",
                    is_output_list=True,
                    tooltip="The part of the image in each box, as a list. Connect the image to get it.",
                ),
                SEGS.Output(display_name="SEGS", tooltip="The things of the first image for the Impact Pack."),
            ],
        )

    @classmethod
    def execute(
        cls,
        heatmaps: Heatmaps,
        concepts: str = "",
        threshold: float = 0.5,
        image: Any = None,
        smallest: float = 0.5,
        most: int = 16,
        padding: int = 0,
    ) -> io.NodeOutput:
        names = named.to_names(concepts, heatmaps.concepts)
        found = find_instances(heatmaps, names, threshold, smallest, most, padding)
        crops = [] if image is None else detections.to_crops(found, convert.match_images(image, heatmaps))
        return io.NodeOutput(
            detections.to_bounding_boxes(found, heatmaps),
            *detections.to_coords(found, heatmaps, names, threshold),
            detections.to_masks(found, heatmaps.image_size),
            crops or [detections.NOTHING],
            detections.to_segs(found, heatmaps.image_size),
            ui=ui.PreviewText(report.boxes_text(found, names)),
        )
