"""Parquet files as a source: a column of pictures, as Hugging Face's data sets have it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import UserError
from ..extras import import_extra
from ..items import Failure, Item, Shard
from .paths import repeated, short_names

CAPTIONS = ("caption", "text", "prompt")
_ROWS = 16  # read at once


@dataclass(frozen=True)
class ParquetSource:
    """Parquet files; each row group is a shard. A picture's id is the file's name and the number of its row.

    Pictures are in the column `image`, or in the first that holds bytes: encoded files as bytes, or structures with
    `bytes`. A caption is in a column `caption`, `text` or `prompt`.

    Args:
        files: one that is given twice is a problem, and read once.

    Raises:
        UserError: if pyarrow is not installed, or a file cannot be read or has no pictures.
    """

    files: tuple[Path, ...]

    def shards(self) -> list[Shard]:
        found: list[Shard] = []
        for file, name in short_names(self.files).items():
            table = _opened(file)
            _image_column(file, table.schema_arrow)
            row = 0
            for group in range(table.num_row_groups):
                count = table.metadata.row_group(group).num_rows
                digest = hashlib.sha256(f"{name} {group} {count} {file.stat().st_size}".encode()).hexdigest()
                found.append(Shard(f"{len(found):05}", digest, (name, str(file), group, row), count))
                row += count
        return found

    def read(self, shard: Shard) -> Iterator[Item]:
        name, path, group, first = shard.content
        table = _opened(Path(path))
        pictures = _image_column(Path(path), table.schema_arrow)
        caption = next((one for one in CAPTIONS if one in table.schema_arrow.names), None)
        columns = [pictures, *([caption] if caption else [])]
        row = first
        for batch in table.iter_batches(_ROWS, [group], columns):
            for record in batch.to_pylist():
                text = str((record[caption] if caption else None) or "")
                yield _item(f"{name}/{row:06}", record[pictures], text)
                row += 1

    def problems(self) -> list[Failure]:
        return repeated(self.files)


def _item(item_id: str, value: Any, caption: str) -> Item:
    """A row as an item; where the row names its file, so does the item."""
    file_name = item_id
    if isinstance(value, dict):
        file_name = str(value.get("path") or item_id)
        value = value.get("bytes")
    if value is None:
        return Item(item_id, file_name, error="The row holds no picture.")
    return Item(item_id, file_name, lambda: value, caption)


def _opened(file: Path) -> Any:
    parquet = import_extra("pyarrow.parquet", "label")
    try:
        return parquet.ParquetFile(file)
    except Exception as error:  # pyarrow has many of its own
        raise UserError(f"{file} cannot be read as Parquet: {error}. Check the file.") from error


def _image_column(file: Path, schema: Any) -> str:
    types = import_extra("pyarrow", "label").types

    def holds_bytes(kind: Any) -> bool:
        if types.is_struct(kind):
            return any(kind.field(index).name == "bytes" for index in range(kind.num_fields))
        return types.is_binary(kind) or types.is_large_binary(kind)

    found = [column.name for column in schema if holds_bytes(column.type)]
    if not found:
        raise UserError(f"{file} has no column of pictures, only {', '.join(schema.names)}. One holds bytes of files.")
    return "image" if "image" in found else found[0]
