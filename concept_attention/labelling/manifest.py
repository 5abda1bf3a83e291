"""`manifest.jsonl`: what a labelled data set consists of, and whether it still does.

The first line has the settings; then there is one for each shard, with the hashes of its files; the last has those of
the files that exist once.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..files import atomic_write

STATE = ".shards"
MANIFEST, LABELS, ERRORS, SHEET = "manifest.jsonl", "labels.jsonl", "errors.jsonl", "sheet.jpg"


def write_manifest(out: Path, settings: Mapping[str, Any], records: Iterable[str], merged: Sequence[Path]) -> None:
    """Write the manifest, atomically.

    Args:
        out: the data set's folder.
        settings: that all shards were made with.
        records: of the shards, as JSON.
        merged: the files that exist once.
    """
    hashes = {path.relative_to(out).as_posix(): file_hash(path) for path in merged}
    with atomic_write(out / MANIFEST) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as file:
        file.write(json.dumps({"settings": settings}, ensure_ascii=False) + "\n")
        file.writelines(f"{record}\n" for record in records)
        file.write(json.dumps({"files": hashes}, ensure_ascii=False) + "\n")


def file_hash(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    found = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            found.update(block)
    return found.hexdigest()


@dataclass(frozen=True)
class Verified:
    """What a check of a data set found.

    Attributes:
        files: how many the manifest lists.
        missing, changed: those that are gone, or have other contents.
        unknown: files that the manifest does not list.
    """

    files: int
    missing: tuple[str, ...]
    changed: tuple[str, ...]
    unknown: tuple[str, ...]

    @property
    def intact(self) -> bool:
        return not (self.missing or self.changed or self.unknown)


def verify(folder: Path) -> Verified:
    """Compare a labelled data set with its manifest.

    Raises:
        UserError: if there is no manifest, or it cannot be read.
    """
    listed: dict[str, str] = {}
    try:
        with (folder / MANIFEST).open(encoding="utf-8") as lines:
            for line in lines:
                listed.update(json.loads(line).get("files", {}))
    except OSError as error:
        raise UserError(
            f"{folder} has no {MANIFEST}: it holds no finished labels. Run the command that made it again."
        ) from error
    except (ValueError, AttributeError) as error:
        raise UserError(f"{folder / MANIFEST} cannot be read: {error}. Label the data set again.") from error
    missing, changed = [], []
    for path, expected in listed.items():
        if not (folder / path).is_file():
            missing.append(path)
        elif file_hash(folder / path) != expected:
            changed.append(path)
    unknown = [path for path in _files(folder) if path not in listed and path not in (MANIFEST, ERRORS)]
    return Verified(len(listed), tuple(missing), tuple(changed), tuple(unknown))


def _files(folder: Path) -> list[str]:
    found = []
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if name != STATE)
        found += [Path(parent, name).relative_to(folder).as_posix() for name in sorted(names)]
    return found
