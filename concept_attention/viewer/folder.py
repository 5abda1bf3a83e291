"""The folder of the viewer's files, which are named by their content and limited in total size."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Collection
from pathlib import Path
from uuid import uuid4

from ..files import atomic_write, write_text

LIMIT = 2**30  # bytes of all files together
_GENERATION = "generation"


class ViewerFolder:
    """A folder of files that may be removed by others at any time.

    Args:
        path: of the folder; it is made when it is first needed.
        limit: bytes that its files may take together.
    """

    def __init__(self, path: Path, limit: int = LIMIT) -> None:
        self.path = path
        self._limit = limit

    def put(self, content: bytes, suffix: str, write: Callable[[Path], object]) -> str:
        """Write a file with this content, unless there is one.

        Args:
            content: what the file's name is made from; the same content is the same file.
            suffix: of the name, with its dot.
            write: writes the file to a path.

        Returns:
            The file's name.
        """
        name = hashlib.blake2b(content, digest_size=16).hexdigest() + suffix
        self.path.mkdir(parents=True, exist_ok=True)
        path = self.path / name
        try:
            os.utime(path)  # used again: among the last to be removed
        except FileNotFoundError:
            with atomic_write(path) as temporary:
                write(temporary)
        return name

    def tidy(self, keep: Collection[str]) -> None:
        """Remove the oldest files, except those to keep, until the rest fits within the limit."""
        files = []
        for entry in os.scandir(self.path):
            with contextlib.suppress(FileNotFoundError):
                files.append((entry.stat().st_mtime_ns, entry.stat().st_size, entry.name))
        total = sum(size for _, size, _ in files)
        generation = self.generation()
        for _, size, name in sorted(files):
            if total <= self._limit:
                break
            if name not in keep and name != _GENERATION:
                with contextlib.suppress(OSError):  # some systems do not remove a file that is being read
                    (self.path / name).unlink()
                    total -= size
                    generation = uuid4().hex
        self._note(generation)

    def generation(self) -> str:
        """A text that changes when a file of the last `tidy` is missing, whoever removed it."""
        try:
            generation, *known = (self.path / _GENERATION).read_text(encoding="utf-8").split()
        except FileNotFoundError:
            return self._note(uuid4().hex)
        return generation if self._names().issuperset(known) else self._note(uuid4().hex)

    def _note(self, generation: str) -> str:
        """Store a generation and its files."""
        self.path.mkdir(parents=True, exist_ok=True)
        write_text("\n".join([generation, *sorted(self._names())]), self.path / _GENERATION)
        return generation

    def _names(self) -> set[str]:
        return {name for name in os.listdir(self.path) if not name.startswith(".")} - {_GENERATION}
