"""Ultralytics' layout for segmentation."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from ...files import write_text
from ..items import Labelled
from .layout import Layout, picture_file
from .polygons import outlines


class Yolo(Layout):
    """`images/`, `labels/` with one polygon per line, and `data.yaml`.

    A line has the number of the concept and x and y of every point, as fractions of width and height. All pictures
    are for training, and for validation too until someone divides them.

    Source: docs.ultralytics.com/datasets/segment.
    """

    def files(self, labelled: Labelled) -> Mapping[str, bytes]:
        suffix, data = picture_file(labelled)
        size = labelled.image.size
        lines = []
        for one in labelled.findings:
            for polygon in outlines(one.mask):
                numbers = (polygon / size).ravel()
                lines.append(" ".join([str(self.contents.names.index(one.name)), *(f"{n:.6f}" for n in numbers)]))
        text = "".join(f"{line}\n" for line in lines)
        return {f"images/{labelled.flat_id}{suffix}": data, f"labels/{labelled.flat_id}.txt": text.encode()}

    def merge(self, out: Path, parts: Sequence[Path]) -> Iterable[Path]:
        path = out / "data.yaml"
        names = "".join(
            f"  {number}: {json.dumps(name, ensure_ascii=False)}\n" for number, name in enumerate(self.contents.names)
        )
        write_text(f"path: {json.dumps(str(out.resolve()))}\ntrain: images\nval: images\nnames:\n{names}", path)
        return [path]
