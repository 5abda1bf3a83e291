"""The base class of all layouts: which files the labels of a picture become."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from ...images import png_bytes
from ..items import Labelled


@dataclass(frozen=True)
class Contents:
    """What layouts need to know of a data set.

    Attributes:
        names: of the concepts that get masks.
        slugs: the same as file names.
        generated: whether its pictures are made from prompts, and so exist nowhere yet.
    """

    names: tuple[str, ...]
    slugs: tuple[str, ...]
    generated: bool = False

    def slug(self, name: str) -> str:
        return self.slugs[self.names.index(name)]


class ShardWriter:
    """Writes one shard. Layouts whose files hold several pictures override it.

    Args:
        layout: of the files.
        shard: the shard's name.
        folder: for the shard's files; paths below it are those below the data set's own folder.
        part: the shard's part of what `Layout.merge` makes one file of.
    """

    def __init__(self, layout: Layout, shard: str, folder: Path, part: Path) -> None:
        self.layout, self.shard, self.folder, self.part = layout, shard, folder, part

    def encode(self, labelled: Labelled) -> Any:
        """Do what takes time for one picture; called from several threads."""
        for path, data in self.layout.files(labelled).items():
            write_file(self.folder / path, data)

    def append(self, encoded: Any) -> None:
        """Take what `encode` returned, in the order of the pictures."""

    def close(self) -> None:
        """Finish the shard's files."""


class Layout:
    """How the labels of a data set lie in files.

    Attributes:
        writer: of its shards.
        trains_masked: whether a trainer learns inside of the mask alone; pictures without any concept are left out.
    """

    writer: ClassVar[type[ShardWriter]] = ShardWriter
    trains_masked: ClassVar[bool] = False

    def __init__(self, contents: Contents) -> None:
        self.contents = contents

    def check(self) -> None:
        """Check that what it needs is installed.

        Raises:
            UserError: if it is not.
        """

    def files(self, labelled: Labelled) -> Mapping[str, bytes]:
        """The files of one picture: contents by path below the data set's folder."""
        return {}

    def merge(self, out: Path, parts: Sequence[Path]) -> Iterable[Path]:
        """Write what exists once for the whole data set, atomically, when all shards are there.

        Args:
            out: the data set's folder.
            parts: every shard's part, in order; of a layout whose writer writes them.

        Returns:
            The files written.
        """
        return []


def write_file(path: Path, data: bytes) -> None:
    """Write a file of a shard that is not in its place yet, and the folders around it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def picture_file(labelled: Labelled) -> tuple[str, bytes]:
    """Suffix and contents of a picture's file: its own if every program reads the same pixels from that, else a PNG.

    A trainer that reads a transparent or rotated picture in another way would put the mask in the wrong place.
    """
    if labelled.data is not None:
        return labelled.suffix, labelled.data
    return ".png", png_bytes(labelled.image)


def captioned(labelled: Labelled, path: str) -> dict[str, bytes]:
    """The caption's file, or none if there is no caption."""
    return {path: labelled.caption.encode()} if labelled.caption else {}


def lines_of(files: Sequence[Path]) -> Iterator[str]:
    """The lines of text files, one after the other, without their ends."""
    for file in files:
        with file.open(encoding="utf-8", newline="\n") as lines:
            for line in lines:
                yield line.rstrip("\n")
