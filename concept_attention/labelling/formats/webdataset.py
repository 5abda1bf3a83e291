"""One tar archive per shard, named as WebDataset names them."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

from ...images import png_bytes
from ..items import Labelled
from .layout import Layout, ShardWriter, captioned, picture_file


class TarWriter(ShardWriter):
    def __init__(self, layout: Layout, shard: str, folder: Path, part: Path) -> None:
        super().__init__(layout, shard, folder, part)
        self._archive = tarfile.open(folder / f"{shard}.tar", "w", format=tarfile.PAX_FORMAT)  # noqa: SIM115

    def encode(self, labelled: Labelled) -> dict[str, bytes]:
        key = labelled.flat_id.replace(".", "_")  # all after the first dot is the suffix
        suffix, data = picture_file(labelled)
        findings = [
            {"name": one.name, "presence": round(one.presence, 4), "area": round(one.area, 6), "box": one.box}
            for one in labelled.findings
        ]
        described = {"id": labelled.id, "file_name": labelled.file_name, "concepts": findings}
        slug = self.layout.contents.slug
        return {
            f"{key}{suffix}": data,
            **captioned(labelled, f"{key}.txt"),
            f"{key}.json": json.dumps(described, ensure_ascii=False).encode(),
            **{f"{key}.{slug(one.name)}.mask.png": png_bytes(one.mask) for one in labelled.findings},
        }

    def append(self, encoded: dict[str, bytes]) -> None:
        for name, data in encoded.items():
            entry = tarfile.TarInfo(name)  # without owner and time: the same pictures give the same archive
            entry.size = len(data)
            self._archive.addfile(entry, io.BytesIO(data))

    def close(self) -> None:
        self._archive.close()


class WebDataset(Layout):
    """`<shard>.tar`: per picture the picture, `.txt` with its caption, `.json`, and `.<concept>.mask.png`."""

    writer = TarWriter
