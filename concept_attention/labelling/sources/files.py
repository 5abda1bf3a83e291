"""Picture files as a source: those of a folder, or those that a COCO annotation file lists."""

from __future__ import annotations

import hashlib
import json
import os
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ...errors import UserError
from ..items import Failure, Item, Shard, checked_id, flat
from .paths import repeated, short_names

SUFFIXES = frozenset(
    [
        ".avif",
        ".bmp",
        ".gif",
        ".heic",
        ".heif",
        ".ico",
        ".jfif",
        ".jp2",
        ".jpe",
        ".jpeg",
        ".jpg",
        ".pcx",
        ".png",
        ".ppm",
        ".psd",
        ".qoi",
        ".sgi",
        ".tga",
        ".tif",
        ".tiff",
        ".webp",
    ]
)
CAPTIONS = (".txt", ".caption")


@dataclass(frozen=True)
class Member:
    """A picture file: the id of its labels, its name in the data set, where it is, and a caption if there is one."""

    id: str
    file_name: str
    path: str
    caption: str | None = None


@dataclass
class FileSource:
    """Picture files, so many to a shard.

    Args:
        members: in the order of the data set. A member whose id another one has already is a problem, and so is one
            whose id cannot name files; ids that differ in case alone are the same to some file systems.
        shard_size: files per shard.
        known_problems: what else cannot be read.
    """

    members: Iterable[Member]
    shard_size: int = 100
    known_problems: list[Failure] = field(default_factory=list)

    def __post_init__(self) -> None:
        taken: dict[str, str] = {}
        kept = []
        for member in self.members:
            key = unicodedata.normalize("NFC", flat(member.id)).casefold().replace(".", "_")  # as in tar archives
            try:
                checked_id(member.id)
                if key in taken:
                    raise UserError(f"its labels would have the name of those of {taken[key]}. Rename one of the two.")
            except UserError as error:
                self.known_problems.append(Failure(member.id, member.file_name, str(error)))
            else:
                taken[key] = member.file_name
                kept.append(member)
        self.members = tuple(kept)

    def shards(self) -> list[Shard]:
        members = tuple(self.members)
        groups = [members[start : start + self.shard_size] for start in range(0, len(members), self.shard_size)]
        return [Shard(f"{index:05}", _digest(group), group, len(group)) for index, group in enumerate(groups)]

    def read(self, shard: Shard) -> Iterator[Item]:
        for member in shard.content:
            caption = _caption(Path(member.path)) if member.caption is None else member.caption
            yield Item(member.id, member.file_name, Path(member.path).read_bytes, caption)

    def problems(self) -> list[Failure]:
        return self.known_problems

    def __getstate__(self) -> dict[str, object]:
        return {**vars(self), "members": (), "known_problems": []}  # a worker gets what it reads with the shard


def folder_source(folders: Sequence[Path], shard_size: int = 100) -> FileSource:
    """All pictures in folders and their subfolders, in the order of their names.

    A picture's caption is in a file of its name that ends in `.txt` or `.caption`. Hidden files and folders are left
    out. Of several folders, their own names come first in the ids.

    Raises:
        UserError: if there is no picture.
    """
    names = short_names(folders)
    members = [
        member for folder, name in names.items() for member in _pictures(folder, f"{name}/" if len(names) > 1 else "")
    ]
    if not members:
        raise UserError(
            f"There is no picture in {', '.join(map(str, folders))}. Give a folder with PNG, JPEG or WebP files."
        )
    return FileSource(members, shard_size, repeated(folders))


def coco_source(file: Path, images: Path | None = None, shard_size: int = 100) -> FileSource:
    """The pictures that a COCO annotation file lists, with the first caption that it has for each.

    Args:
        file: the JSON file.
        images: the folder that its file names are relative to; None looks beside the file, in `images`, and in folders
            named as its name ends (`instances_train2017.json`: `train2017`).
        shard_size: files per shard.

    Raises:
        UserError: if the file cannot be read, or the pictures are not found.
    """
    try:
        listed = json.loads(file.read_text(encoding="utf-8"))
        names = {one["id"]: str(one["file_name"]) for one in listed["images"]}
        captions: dict[object, str] = {}
        for annotation in listed.get("annotations") or []:
            if "caption" in annotation:
                captions.setdefault(annotation["image_id"], str(annotation["caption"]))
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise UserError(
            f"{file} is not a COCO annotation file: {error!r}. It lists `images` with `file_name`."
        ) from error
    if not names:
        raise UserError(f"{file} lists no images.")
    root = images or _image_root(file, next(iter(names.values())))
    members = [
        Member(os.path.splitext(name)[0].replace(os.sep, "/"), name, str(root / name), captions.get(number, ""))
        for number, name in names.items()
    ]
    return FileSource(members, shard_size)


def _pictures(folder: Path, prefix: str) -> Iterator[Member]:
    found = []
    for parent, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [os.path.join(parent, name) for name in files if not name.startswith(".")]
    relative = {Path(path).relative_to(folder).as_posix(): path for path in found}
    for name in sorted(relative):
        stem, suffix = os.path.splitext(name)
        if suffix.lower() in SUFFIXES:
            yield Member(prefix + stem, prefix + name, relative[name])


def _image_root(file: Path, name: str) -> Path:
    folder, split = file.resolve().parent, file.stem.rsplit("_", 1)[-1]
    places = [folder, folder / "images", folder / split]
    places += [folder.parent, folder.parent / "images", folder.parent / split, folder.parent / "images" / split]
    for place in places:
        if (place / name).is_file():
            return place
    raise UserError(f"The pictures of {file} are not found: {name} is not beside it. Give their folder with --images.")


def _caption(path: Path) -> str:
    for suffix in CAPTIONS:
        file = path.with_suffix(suffix)
        if file.is_file():
            return file.read_text(encoding="utf-8-sig", errors="replace").strip()
    return ""


def _digest(members: Sequence[Member]) -> str:
    """Of the names and sizes of a shard's files; unlike their dates, a copy of the data set keeps these."""
    sizes = [[member.id, member.file_name, member.caption, _size(member.path)] for member in members]
    return hashlib.sha256(json.dumps(sizes).encode()).hexdigest()


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return -1  # reading it will say what is wrong
