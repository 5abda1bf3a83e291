"""Where pictures come from: one file for each kind of data set."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ...errors import UserError
from ..items import Source
from .archives import TarSource
from .files import coco_source, folder_source
from .tables import ParquetSource


def open_source(paths: Sequence[Path], images: Path | None = None, shard_size: int = 100) -> Source:
    """The source for what a user names: folders, tar archives, Parquet files, or one COCO annotation file.

    Args:
        paths: of one kind. A folder with archives or Parquet files in it stands for these.
        images: folder of the pictures of a COCO file.
        shard_size: picture files per shard; an archive and a row group are a shard of their own.

    Raises:
        UserError: if something does not exist, is of no known kind, or not of the same; and as the source.
    """
    expanded = [file for path in paths for file in _expanded(path)]
    kinds = {_kind(path) for path in expanded}
    if len(kinds) != 1:
        raise UserError(f"Give data sets of one kind, got {', '.join(sorted(kinds)) or 'none'}.")
    kind = kinds.pop()
    if kind == "tar archives":
        return TarSource(tuple(expanded))
    if kind == "Parquet files":
        return ParquetSource(tuple(expanded))
    if kind == "folders":
        return folder_source(expanded, shard_size)
    if len(expanded) > 1:
        raise UserError("Give one COCO file at a time.")
    return coco_source(expanded[0], images, shard_size)


def _expanded(path: Path) -> list[Path]:
    """A path, or the archives or tables directly in a folder."""
    if not path.is_dir():
        return [path]
    for suffix in (".tar", ".parquet"):
        files = sorted(file for file in path.iterdir() if file.suffix.lower() == suffix)
        if files:
            return files
    return [path]


def _kind(path: Path) -> str:
    if path.is_dir():
        return "folders"
    if not path.exists():
        raise UserError(f"There is no {path}. Check the path.")
    kinds = {".tar": "tar archives", ".parquet": "Parquet files", ".json": "COCO files"}
    if path.suffix.lower() not in kinds:
        raise UserError(
            f"{path} is no data set: expected a folder, .tar, .parquet or COCO .json. For one picture use "
            "`concept-attention analyze`."
        )
    return kinds[path.suffix.lower()]
