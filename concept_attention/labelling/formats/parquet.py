"""One Parquet file per shard."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...images import png_bytes
from ..extras import import_extra
from ..items import Labelled
from ..rows import label_row
from .layout import Layout, ShardWriter


class ParquetWriter(ShardWriter):
    def __init__(self, layout: Layout, shard: str, folder: Path, part: Path) -> None:
        super().__init__(layout, shard, folder, part)
        self._rows: list[dict[str, Any]] = []

    def encode(self, labelled: Labelled) -> dict[str, Any]:
        width, height = labelled.image.size
        row = {
            "id": labelled.id,
            "file_name": labelled.file_name,
            "caption": labelled.caption,
            "width": width,
            "height": height,
            **label_row(labelled.findings),
        }
        if self.layout.contents.generated:
            row["image"] = {"bytes": png_bytes(labelled.image), "path": labelled.file_name}
        return row

    def append(self, encoded: dict[str, Any]) -> None:
        self._rows.append(encoded)

    def close(self) -> None:
        arrow = import_extra("pyarrow", "label")
        text, number, several = arrow.string(), arrow.float32(), arrow.list_
        columns = {
            "id": text,
            "file_name": text,
            "caption": text,
            "width": arrow.int32(),
            "height": arrow.int32(),
            "concepts": several(text),
            "presence": several(number),
            "area": several(number),
            "box": several(several(arrow.int32())),
            "mask": several(arrow.binary()),
        }
        if self.layout.contents.generated:
            columns["image"] = arrow.struct({"bytes": arrow.binary(), "path": text})
        table = arrow.Table.from_pylist(self._rows, schema=arrow.schema(columns))
        import_extra("pyarrow.parquet", "label").write_table(table, self.folder / f"{self.shard}.parquet")


class Parquet(Layout):
    """`<shard>.parquet` with a row per picture: what `ConceptLabeller` returns, and the picture if it was made."""

    writer = ParquetWriter

    def check(self) -> None:
        import_extra("pyarrow", "label")
