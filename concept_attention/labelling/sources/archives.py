"""Tar archives as a source, named as WebDataset names them: files of one picture share all before the first dot."""

from __future__ import annotations

import hashlib
import json
import os
import tarfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path, PurePosixPath

from ...errors import UserError
from ..items import Failure, Item, Shard, checked_id
from .files import SUFFIXES
from .paths import repeated, short_names


@dataclass(frozen=True)
class TarSource:
    """Tar archives; each is a shard. The ids of its pictures begin with the archive's name.

    Args:
        files: the archives. One that is given twice is a problem, and read once.
    """

    files: tuple[Path, ...]

    def shards(self) -> list[Shard]:
        names = short_names(self.files)
        return [
            Shard(f"{index:05}", _digest(name, file), (name, str(file)))
            for index, (file, name) in enumerate(names.items())
        ]

    def read(self, shard: Shard) -> Iterator[Item]:
        name, file = shard.content
        taken: set[str] = set()
        try:
            with tarfile.open(file, "r:") as archive:
                for key, members in groupby(_files(archive), key=lambda member: _key(member.name)):
                    if (item := _item(archive, f"{name}/{key}", list(members), taken)) is not None:
                        yield item
                _check_end(archive, Path(file))
        except (tarfile.TarError, OSError, EOFError) as error:  # what came before is read
            yield Item(name, os.path.basename(file), error=f"The archive cannot be read to its end: {error}.")

    def problems(self) -> list[Failure]:
        return repeated(self.files)


def _check_end(archive: tarfile.TarFile, file: Path) -> None:
    """Check that an archive was read to its end mark, blocks of zeros: tarfile takes a cut header for the end.

    Raises:
        EOFError: if it is cut off.
    """
    with file.open("rb") as rest:
        rest.seek(archive.offset)
        block = rest.read(tarfile.BLOCKSIZE)
    if len(block) < tarfile.BLOCKSIZE or any(block):
        raise EOFError("it is cut off")


def _files(archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    return (member for member in archive if member.isfile() and not os.path.basename(member.name).startswith("."))


def _key(name: str) -> str:
    path = PurePosixPath(name)
    return str(path.with_name(path.name.partition(".")[0]))


def _item(archive: tarfile.TarFile, item_id: str, members: Sequence[tarfile.TarInfo], taken: set[str]) -> Item | None:
    """The picture among the files of one key, with its caption; None if there is none."""
    pictures = [member for member in members if os.path.splitext(member.name)[1].lower() in SUFFIXES]
    if not pictures:
        return None
    name = pictures[0].name
    try:
        checked_id(item_id)
        if item_id.casefold() in taken:
            raise UserError("Another picture of this archive has the same name. Rename one of the two.")
        if len(pictures) > 1:
            raise UserError(f"{len(pictures)} pictures have the key {_key(name)}; it is not known which one is meant.")
    except UserError as error:
        return Item(item_id, name, error=str(error))
    taken.add(item_id.casefold())
    return Item(item_id, name, _contents(archive, pictures[0]), _caption(archive, members))


def _contents(archive: tarfile.TarFile, member: tarfile.TarInfo) -> Callable[[], bytes]:
    """The bytes are read at once: an archive is read from its beginning to its end."""
    file = archive.extractfile(member)
    data = b"" if file is None else file.read()
    return lambda: data


def _caption(archive: tarfile.TarFile, members: Sequence[tarfile.TarInfo]) -> str:
    for member in members:
        suffix = os.path.splitext(member.name)[1].lower()
        if suffix in (".txt", ".caption"):
            return _contents(archive, member)().decode("utf-8-sig", "replace").strip()
        if suffix == ".json":
            try:
                return str(json.loads(_contents(archive, member)())["caption"])
            except (ValueError, LookupError, TypeError):
                continue
    return ""


def _digest(name: str, file: Path) -> str:
    return hashlib.sha256(f"{name} {file.stat().st_size}".encode()).hexdigest()
