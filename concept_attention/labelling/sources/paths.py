"""Paths as a user gives them: names for them, and what is given twice."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from ..items import Failure


def short_names(files: Sequence[Path]) -> dict[Path, str]:
    """A name for every path, each once: its own, or if another has the same, its path below the folder they share."""
    unique = list(dict.fromkeys(file.resolve() for file in files))
    stems = [file.name.partition(".")[0] for file in unique]
    if len({stem.casefold() for stem in stems}) == len(stems):
        return dict(zip(unique, stems, strict=True))
    shared = Path(os.path.commonpath([file.parent for file in unique]))
    return {file: file.relative_to(shared).with_name(stem).as_posix() for file, stem in zip(unique, stems, strict=True)}


def repeated(files: Sequence[Path]) -> list[Failure]:
    """One failure for every file that is given again."""
    failures, seen = [], set()
    for file in files:
        if file.resolve() in seen:
            failures.append(Failure(file.name, str(file), "It is given twice. It is read once."))
        seen.add(file.resolve())
    return failures
