"""Layouts of labelled data sets: one file for each. None of them needs a model."""

from __future__ import annotations

from ...choices import LAYOUTS, LayoutName, check_choice
from .ai_toolkit import AiToolkit
from .coco import Coco, CocoPolygons
from .kohya import Kohya
from .layout import Contents, Layout
from .masks import Masks
from .onetrainer import OneTrainer
from .parquet import Parquet
from .webdataset import WebDataset
from .yolo import Yolo

_CLASSES: dict[LayoutName, type[Layout]] = {
    "masks": Masks,
    "coco": Coco,
    "coco-polygons": CocoPolygons,
    "yolo": Yolo,
    "parquet": Parquet,
    "webdataset": WebDataset,
    "onetrainer": OneTrainer,
    "kohya": Kohya,
    "ai-toolkit": AiToolkit,
}


def layout_named(name: LayoutName, contents: Contents) -> Layout:
    """The layout of a name.

    Raises:
        UserError: if there is none, or a package that it needs is not installed.
    """
    check_choice("format", name, LAYOUTS)
    layout = _CLASSES[name](contents)
    layout.check()
    return layout
