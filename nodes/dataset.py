"""The node that saves pictures with masks in a trainer's layout."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io
from torch import Tensor

from ..concept_attention.choices import LAYOUTS, METHODS, LayoutName, Method
from ..concept_attention.heatmaps.heatmaps import Heatmaps
from ..concept_attention.labelling.manifest import SHEET
from ..concept_attention.labelling.settings import MaskSettings
from ..concept_attention.labelling.sink import FolderSink
from . import convert, folders, named, report
from .sockets import CA_HEATMAPS, HEATMAPS


class ConceptDatasetSave(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ConceptDatasetSave",
            display_name="Save Pictures with Masks",
            category=HEATMAPS,
            description="Adds pictures, their masks and captions to a data set in ComfyUI's output folder, in the "
            "layout that a trainer or an annotation tool reads. Every run adds its pictures.",
            search_aliases=[
                "concept attention",
                "save dataset",
                "training masks",
                "masked loss",
                "lora dataset",
                "kohya",
                "OneTrainer",
                "ai-toolkit",
                "COCO",
                "YOLO",
            ],
            is_output_node=True,
            inputs=[
                io.Image.Input("image", tooltip="The pictures to save."),
                CA_HEATMAPS.Input(
                    "heatmaps", optional=True, tooltip="Shares of the same pictures. Connect these or a mask, not both."
                ),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip="A mask for each picture, or one for all. White is what a trainer learns.",
                ),
                io.String.Input(
                    "caption",
                    default="",
                    multiline=True,
                    optional=True,
                    tooltip="Caption of the pictures, such as their prompt. Empty: no caption is saved.",
                ),
                io.Combo.Input(
                    "format",
                    options=list(LAYOUTS),
                    default="kohya",
                    optional=True,
                    tooltip="kohya, onetrainer, ai-toolkit: pictures with one mask each and captions, to train with "
                    "masks. masks: a folder of masks per concept. coco, coco-polygons, yolo: annotations. webdataset, "
                    "parquet: archives, tables.",
                ),
                io.String.Input(
                    "folder",
                    default="datasets/concepts",
                    optional=True,
                    tooltip="Folder of the data set in the output folder. %year%, %month%, %day%, %hour%, %minute% and "
                    "%second% are replaced by the current time.",
                ),
                io.String.Input(
                    "concepts",
                    default="",
                    optional=True,
                    tooltip="Concepts to save, separated by commas. Empty: all concepts of the heatmaps that are not "
                    "background. With a mask: its name.",
                ),
                io.Combo.Input(
                    "method",
                    options=list(METHODS),
                    default="argmax",
                    optional=True,
                    tooltip="How heatmaps become masks, see Mask from Concept Heatmaps. argmax: white where the "
                    "concept has the highest share. soft: the share as grey level, which trainers take as a weight.",
                ),
                io.Float.Input(
                    "threshold",
                    default=0.5,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    optional=True,
                    tooltip="Share above which a pixel is white. Only for method threshold.",
                ),
                io.Float.Input(
                    "min_presence",
                    default=0.0,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    optional=True,
                    tooltip="Leaves out concepts that are in a picture less surely than this. Trainers' layouts leave "
                    "out pictures without any.",
                ),
            ],
            outputs=[],
        )

    @classmethod
    def execute(
        cls,
        image: Any,
        heatmaps: Heatmaps | None = None,
        mask: Tensor | None = None,
        caption: str = "",
        format: LayoutName = "kohya",  # noqa: A002 - the input's name
        folder: str = "datasets/concepts",
        concepts: str = "",
        method: Method = "argmax",
        threshold: float = 0.5,
        min_presence: float = 0.0,
    ) -> io.NodeOutput:
        names = named.to_labels(concepts, heatmaps, mask)
        settings = MaskSettings(names, method, threshold, min_presence=min_presence)
        pictures = convert.to_labelled(image, heatmaps, mask, settings, caption)
        place = folders.output_folder(folder)
        totals = FolderSink(place.path, format, settings).add(pictures)
        sheet = {"filename": SHEET, "subfolder": place.subfolder, "type": "output"}
        shown = [sheet] if (place.path / SHEET).is_file() else []
        return io.NodeOutput(
            ui={"text": [report.dataset_text(len(pictures), totals, place.subfolder)], "images": shown}
        )
