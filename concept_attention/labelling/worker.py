"""One worker: shard after shard from a source, through one model, to a sink.

Threads decode pictures ahead of the model and make masks behind it, while the calling thread keeps the model busy. A
shard's batches do not depend on what was labelled before, so that its labels are the same wherever it is done.
"""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from PIL.Image import Image

from ..errors import UserError
from ..images import read_image
from .ahead import ahead
from .findings import Maps, find
from .items import Failure, Item, Labelled, Shard, Sink, Source

if TYPE_CHECKING:  # it loads a host, and what only starts workers needs none
    from .labeller import ConceptLabeller, Grid

_WAITING = 8  # pictures between the model and the sink


@dataclass(frozen=True)
class Outcome:
    """How a shard ended.

    Attributes:
        shard: its name.
        pictures: how many it has, readable or not.
        error: why it failed, or "".
        fatal: whether the next shard would fail in the same way: nothing can be written.
    """

    shard: str
    pictures: int
    error: str = ""
    fatal: bool = False


@dataclass(frozen=True, eq=False)
class Decoded:
    """A picture in memory, as it is and as the model gets it; its file's bytes, if they can be handed on."""

    item: Item
    image: Image
    small: Image
    grid: Grid = (0, 0)
    data: bytes | None = None
    suffix: str = ".png"


class Worker:
    """A model with threads around it.

    Args:
        labeller: the model.
        source, sink: of all shards.
        threads: beside the one that runs the model.
        on_picture: called after each batch with the number of pictures that the model has done since the last call.
    """

    def __init__(
        self,
        labeller: ConceptLabeller,
        source: Source,
        sink: Sink,
        threads: int = 1,
        on_picture: Callable[[int], None] = lambda count: None,
    ) -> None:
        self._labeller, self._source, self._sink = labeller, source, sink
        self._threads, self._on_picture = threads, on_picture

    def label(self, shards: Sequence[Shard]) -> Iterator[Outcome]:
        """Label shards one after the other. A shard that fails does not end the others, unless its outcome is fatal."""
        with ThreadPoolExecutor(self._threads) as threads, ThreadPoolExecutor(1) as writing:
            decoded = ahead(threads, self._prepare, self._items(shards), 2 * self._labeller.settings.batch)
            written: list[_Writing] = []
            for shard in shards:
                written.append(_Writing(self._sink, shard, writing))
                self._run(shard, decoded, threads, written[-1])
                while len(written) > 1:  # the last one is written while the next is labelled
                    yield (outcome := written.pop(0).outcome())
                    if outcome.fatal:
                        return
            for one in written:
                yield one.outcome()

    def _items(self, shards: Sequence[Shard]) -> Iterator[Item | None | BaseException]:
        """The items of all shards; None after each shard, or what kept it from being read."""
        for shard in shards:
            try:
                yield from self._source.read(shard)
                yield None
            except Exception as error:
                yield error

    def _prepare(self, item: Item | None | BaseException) -> Decoded | Failure | Item | None | BaseException:
        """Read and scale a picture, in a thread; prompts and ends of shards pass."""
        if not isinstance(item, Item) or (item.read is None and not item.error):
            return item
        try:
            if item.error or item.read is None:
                raise UserError(item.error)
            data = item.read()
            file = read_image(data, item.file_name)
            small, grid = self._labeller.scaled(file.image), self._labeller.grid(file.image)
        except (UserError, OSError, MemoryError) as error:
            return Failure(item.id, item.file_name, _reason(error))
        return Decoded(item, file.image, small, grid, data if file.suffix else None, file.suffix or ".png")

    def _run(self, shard: Shard, stream: Iterator[Any], threads: ThreadPoolExecutor, writing: _Writing) -> None:
        """Take one shard from the stream of all, to its end, even if it fails."""
        began, before = time.perf_counter(), self._labeller.seconds
        batches: dict[Grid | None, list[Any]] = {}
        error: BaseException | None = None
        try:
            for one in stream:
                if one is None or isinstance(one, BaseException):
                    error = error or one
                    break
                if isinstance(one, Failure):
                    writing.put(one)
                elif error is None:
                    key = one.grid if isinstance(one, Decoded) else None
                    batch = batches.setdefault(key, [])
                    batch.append(one)
                    if len(batch) == self._labeller.settings.batch:
                        error = self._batch(batches.pop(key), threads, writing)
            for batch in batches.values():
                error = error or self._batch(batch, threads, writing)
        except BaseException as interruption:
            error = interruption
            raise
        finally:  # or the writing thread would wait for ever
            made = {**self._labeller.made_with, "model_seconds": round(self._labeller.seconds - before, 3)}
            writing.end(error, lambda: {**made, "seconds": round(time.perf_counter() - began, 3)})

    def _batch(self, batch: list[Any], threads: ThreadPoolExecutor, writing: _Writing) -> Exception | None:
        """Run the model on a batch; what goes wrong is returned."""
        try:
            if isinstance(batch[0], Decoded):
                found = self._labeller.analyze(
                    [one.small for one in batch], [one.item.id for one in batch], [one.image.size for one in batch]
                )
            else:
                images, found = self._labeller.generate([one.caption for one in batch], self._seed(batch))
                batch = [Decoded(one, image, image) for one, image in zip(batch, images, strict=True)]
        except Exception as error:
            return error
        for one, maps in zip(batch, found, strict=True):
            writing.put(threads.submit(self._labelled, one, maps))
        self._on_picture(len(batch))
        return None

    def _seed(self, batch: Sequence[Item]) -> int:
        """Of the first of some prompts that follow one another."""
        return self._labeller.settings.seed + batch[0].number

    def _labelled(self, one: Decoded, maps: Maps) -> Labelled:
        """Make the masks of a picture, in a thread."""
        findings, together = find(maps, self._labeller.settings.masks)
        item = one.item
        return Labelled(item.id, item.file_name, item.caption, one.image, findings, together, one.data, one.suffix)


class _Writing:
    """A shard on its way to the sink, whose thread takes pictures as they come."""

    def __init__(self, sink: Sink, shard: Shard, thread: ThreadPoolExecutor) -> None:
        self._shard, self._count = shard, 0
        self._waiting: queue.Queue[Any] = queue.Queue(_WAITING)
        self._ended = False
        self._made: Callable[[], dict[str, Any]] = dict
        self._future = thread.submit(self._write, sink)

    def put(self, one: Future[Labelled] | Failure) -> None:
        self._count += 1
        self._waiting.put(one)

    def end(self, error: BaseException | None, made: Callable[[], dict[str, Any]]) -> None:
        self._made = made
        self._waiting.put(error)

    def outcome(self) -> Outcome:
        """Wait until the shard is written."""
        try:
            self._future.result()
        except OSError as error:
            return Outcome(self._shard.name, self._count, f"It cannot be written: {_reason(error)}", fatal=True)
        except Exception as error:
            return Outcome(self._shard.name, self._count, _reason(error))
        return Outcome(self._shard.name, self._count)

    def _write(self, sink: Sink) -> None:
        try:
            sink.write(self._shard, self._pictures(), lambda: self._made())
        finally:
            while not self._ended:  # the model's thread must not wait for a sink that has failed
                self._take()

    def _pictures(self) -> Iterator[Labelled | Failure]:
        while True:
            one = self._take()
            if isinstance(one, BaseException):
                raise one
            if one is None:
                return
            yield one if isinstance(one, Failure) else one.result()

    def _take(self) -> Any:
        one = self._waiting.get()
        self._ended = one is None or isinstance(one, BaseException)
        return one


def _reason(error: BaseException) -> str:
    """An error in one line."""
    text = " ".join(str(error).split())
    return text if isinstance(error, UserError | OSError) and text else f"{type(error).__name__}: {text}"
