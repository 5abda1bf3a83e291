"""COCO's annotation file, with run lengths or with polygons."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...files import atomic_write
from ...images import png_bytes
from ..findings import HALF
from ..items import Finding, Labelled
from .layout import Layout, ShardWriter, lines_of, write_file
from .polygons import outlines
from .rle import encode_rle


class CocoWriter(ShardWriter):
    """Writes a line of JSON per picture: its entry in `images`, and its annotations without numbers."""

    def __init__(self, layout: Coco, shard: str, folder: Path, part: Path) -> None:
        super().__init__(layout, shard, folder, part)
        self._coco, self._lines = layout, part.open("w", encoding="utf-8", newline="\n")

    def encode(self, labelled: Labelled) -> str:
        name = labelled.file_name
        if self._coco.contents.generated:
            name = f"images/{labelled.id}.png"
            write_file(self.folder / name, png_bytes(labelled.image))
        width, height = labelled.image.size
        image = {"file_name": name, "width": width, "height": height}
        return json.dumps([image, list(self._coco.annotations(labelled))], ensure_ascii=False)

    def append(self, encoded: str) -> None:
        self._lines.write(encoded + "\n")

    def close(self) -> None:
        self._lines.close()


class Coco(Layout):
    """`annotations.json` with compressed run lengths, which are exact. File names are those of the data set."""

    writer = CocoWriter

    def annotations(self, labelled: Labelled) -> Iterator[dict[str, Any]]:
        for one in labelled.findings:
            if one.box is not None:
                yield {
                    "category_id": self.contents.names.index(one.name) + 1,
                    "bbox": list(one.box),
                    "area": int((one.mask >= HALF).sum()),
                    "iscrowd": 0,
                    "presence": round(one.presence, 4),
                    "segmentation": self.segmentation(one),
                }

    def segmentation(self, finding: Finding) -> Any:
        return encode_rle(finding.mask >= HALF)

    def merge(self, out: Path, parts: Sequence[Path]) -> Iterable[Path]:
        """Number pictures and annotations; one line each, so that a file of any length is written as it is read."""
        names = enumerate(self.contents.names, start=1)
        path = out / "annotations.json"
        with atomic_write(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as file:
            file.write('{"info": {"description": "labels by concept-attention"},\n')
            categories = [{"id": number, "name": name} for number, name in names]
            file.write(f'"categories": {json.dumps(categories, ensure_ascii=False)},\n"images": [')
            for number, (image, _) in enumerate(map(json.loads, lines_of(parts)), start=1):
                file.write(_entry({"id": number, **image}, first=number == 1))
            file.write('\n],\n"annotations": [')
            count = 0
            for number, (_, annotations) in enumerate(map(json.loads, lines_of(parts)), start=1):
                for annotation in annotations:
                    count += 1
                    file.write(_entry({"id": count, "image_id": number, **annotation}, first=count == 1))
            file.write("\n]}\n")
        return [path]


class CocoPolygons(Coco):
    """`annotations.json` with polygons, which older tools want."""

    def segmentation(self, finding: Finding) -> list[list[float]]:
        return [np.round(polygon, 2).ravel().tolist() for polygon in outlines(finding.mask)]


def _entry(value: Any, first: bool) -> str:
    return ("\n" if first else ",\n") + json.dumps(value, ensure_ascii=False)
