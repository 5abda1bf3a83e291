"""What passes from a source through the model to a sink."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Protocol

import numpy as np
from PIL.Image import Image

from ..errors import UserError


@dataclass(frozen=True)
class Shard:
    """The unit of work: some pictures whose labels are written together.

    Attributes:
        name: of its output, unique and in the order of the data set, such as `00012`.
        digest: changes if its pictures do.
        content: what its source needs to read it; can be pickled, and holds no picture.
        count: number of pictures, or None if only reading it tells.
    """

    name: str
    digest: str
    content: Any
    count: int | None = None


@dataclass(frozen=True)
class Item:
    """A picture of a source, or the prompt to make one from.

    Attributes:
        id: names its labels: a path without suffix, with `/`, unique in the data set.
        file_name: as the source names it.
        read: returns the bytes of the image file; None for a prompt.
        caption: what is said about it, or the prompt.
        number: of a prompt, added to the seed.
        error: why there is no picture, if there is none.
    """

    id: str
    file_name: str
    read: Callable[[], bytes] | None = None
    caption: str = ""
    number: int = 0
    error: str = ""


@dataclass(frozen=True)
class Failure:
    """A picture, or a whole shard, that could not be labelled, and why."""

    id: str
    file_name: str
    error: str


@dataclass(frozen=True, eq=False)
class Finding:
    """One concept in one picture.

    Attributes:
        name: of the concept.
        presence: how surely it is in the picture, 0-1.
        area: fraction of the picture where the mask is at least one half.
        box: (left, top, width, height) in pixels of that part; None if there is none.
        mask: (H, W) uint8, 0-255, at the picture's size.
    """

    name: str
    presence: float
    area: float
    box: tuple[int, int, int, int] | None
    mask: np.ndarray


@dataclass(frozen=True, eq=False)
class Labelled:
    """A picture with what was found in it.

    Attributes:
        id, file_name, caption: of the item.
        image: 8-bit RGB, upright, as the model saw it.
        findings: the concepts that are there, in their order; background concepts are not among them.
        together: mask of all findings taken together, (H, W) uint8, 0-255.
        data, suffix: the image file, if every program reads the same pixels from it as are in `image`; else None.
    """

    id: str
    file_name: str
    caption: str
    image: Image
    findings: tuple[Finding, ...]
    together: np.ndarray
    data: bytes | None = None
    suffix: str = ".png"

    @property
    def flat_id(self) -> str:
        """The id as one name, for layouts without subfolders."""
        return flat(self.id)


@dataclass(frozen=True)
class Totals:
    """What is finished of a data set.

    Attributes:
        pictures: labelled.
        left_out: pictures in which no concept is present; they have no labels.
        failures: what could not be labelled.
        complete: whether every shard is there.
    """

    pictures: int
    left_out: int
    failures: tuple[Failure, ...]
    complete: bool


class Source(Protocol):
    """Where pictures come from. It is pickled for workers."""

    def shards(self) -> Sequence[Shard]:
        """All shards, always the same for the same data."""
        ...

    def read(self, shard: Shard) -> Iterator[Item]:
        """The pictures of a shard, in order."""
        ...

    def problems(self) -> Sequence[Failure]:
        """What cannot be read at all, and is in no shard."""
        ...


class Sink(Protocol):
    """Where labels go. It is pickled for workers."""

    def begin(self, shards: Sequence[Shard]) -> None:
        """Before the work, with all shards of the data set."""
        ...

    def missing(self, shards: Sequence[Shard]) -> list[Shard]:
        """Those whose labels are not there yet."""
        ...

    def write(self, shard: Shard, pictures: Iterable[Labelled | Failure], made: Callable[[], dict[str, Any]]) -> None:
        """Write the labels of a shard: all of them or, if this raises, none. Called in a worker.

        Writing a shard twice must leave what writing it once does. `made` tells, once all pictures have been taken,
        how: seconds, device and versions.
        """
        ...

    def finish(self, shards: Sequence[Shard], failures: Sequence[Failure]) -> Totals:
        """After the work; shards may be missing. `failures` are the source's problems and the shards that failed."""
        ...


def flat(item_id: str) -> str:
    """An id as one file name.

    >>> flat("beach/0001")
    'beach__0001'
    """
    return item_id.replace("/", "__")


def checked_id(item_id: str) -> str:
    """An id that is safe to make paths of; what archives and tables say is not to be trusted.

    Raises:
        UserError: if it is empty, absolute, or leads out of its folder.
    """
    parts = PurePosixPath(item_id).parts
    bad = not item_id.strip() or item_id != "/".join(parts) or ".." in parts or "\\" in item_id
    unprintable = any(unicodedata.category(character) in ("Cc", "Cs") for character in item_id)
    if bad or unprintable or ":" in parts[0] or any(len(part.encode()) > 200 for part in parts):
        raise UserError(f"{item_id!r} cannot name a file. Rename the picture.")
    return item_id
