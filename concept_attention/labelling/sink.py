"""The sink for folders: a shard appears by one rename, and its files move to their places afterwards.

    DIR/.shards/settings.json        what all shards were made with
    DIR/.shards/00012/record.json    a finished shard: hashes of its files, counts, how it was made
    DIR/.shards/00012/files/...      its files, until they are moved to the same paths below DIR
    DIR/.shards/00012/labels.jsonl   and errors.jsonl, part.jsonl, sheet/: its parts of what exists once

A shard is finished if its record is there and has the digest of its pictures. Doing one twice is harmless: the second
to finish finds the name taken. Whoever finds all shards finished writes what exists once.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from random import Random
from typing import Any
from uuid import uuid4

from PIL import Image

from ..choices import LayoutName
from ..concepts import slugs
from ..errors import UserError
from ..files import atomic_write, save_image, write_json
from .ahead import ahead
from .formats import layout_named
from .formats.layout import Contents, ShardWriter, lines_of
from .items import Failure, Labelled, Shard, Totals
from .manifest import ERRORS, LABELS, MANIFEST, SHEET, STATE, file_hash, write_manifest
from .settings import LabelSettings, MaskSettings
from .sheet import RESULTS, Sample, draw_sheet, places

RECORD, SETTINGS, FILES, PART = "record.json", "settings.json", "files", "part.jsonl"
_UNFINISHED = "unfinished-"  # beginning of the name of a folder that a shard is written into


class FolderSink:
    """Labels in a folder, in one layout.

    Args:
        out: the folder; another run of the same data set with the same settings goes on where this one stops.
        layout: see `choices.LayoutName`.
        settings: of the labels.
        generated: whether the pictures are made from prompts.
        caption: for pictures without one.
        threads: that write files.
    """

    def __init__(
        self,
        out: Path,
        layout: LayoutName,
        settings: LabelSettings | MaskSettings,
        *,
        generated: bool = False,
        caption: str = "",
        threads: int = 1,
    ) -> None:
        self.out, self._state = out, out / STATE
        names = settings.names
        self._layout = layout_named(layout, Contents(names, slugs(names), generated))
        self._settings = {"format": layout, "caption": caption, "generated": generated, **settings.as_dict()}
        self._caption, self._threads = caption, threads
        self._shown: dict[str, int] = {}

    def begin(self, shards: Sequence[Shard]) -> None:
        """Check the settings of an earlier run, and remove shards that the data set has no more.

        Raises:
            UserError: if the folder holds labels made with other settings.
        """
        self._shown = places([shard.name for shard in shards])
        self._check_settings()
        known = {shard.name for shard in shards}
        for name in self._names():
            if name not in known:
                self._remove(name)

    def add(self, pictures: Sequence[Labelled]) -> Totals:
        """Append pictures to what the folder holds, as a shard of their own; their ids are made anew.

        Args:
            pictures: of a graph, which has no data set.

        Raises:
            UserError: as `begin`.
        """
        self._check_settings()
        while True:
            names = self._names()
            name = f"{int(names[-1]) + 1 if names else 0:05}"
            numbered = [replace(one, id=f"{name}_{index:03}") for index, one in enumerate(pictures)]
            named = [replace(one, file_name=f"{one.id}.png") for one in numbered]
            self._shown = {name: RESULTS}
            if self._write(Shard(name, uuid4().hex, None), named, dict):  # else another process was faster
                break
        shards = [Shard(name, record["digest"], None) for name in self._names() if (record := self._record(name))]
        return self.finish(shards, [])

    def missing(self, shards: Sequence[Shard]) -> list[Shard]:
        """The shards without a record, or whose pictures have changed; what is left of these is removed."""
        found = []
        for shard in shards:
            record = self._record(shard.name)
            if record is None or record["digest"] != shard.digest:
                self._remove(shard.name)
                found.append(shard)
        return found

    def write(self, shard: Shard, pictures: Iterable[Labelled | Failure], made: Callable[[], dict[str, Any]]) -> None:
        """Write a shard's files into a folder of its own and rename that."""
        if not self._write(shard, pictures, made) and self._record(shard.name) is None:
            raise OSError(f"{self._state / shard.name} is in the way. Delete it and run again.")

    def finish(self, shards: Sequence[Shard], failures: Sequence[Failure]) -> Totals:
        """Move finished shards' files to their places; if all are there, write what exists once."""
        pictures = left_out = 0
        complete = True
        failed = list(failures)
        for shard in shards:
            record = self._record(shard.name)
            if record is None or record["digest"] != shard.digest:
                complete = False
                continue
            self.publish(shard.name)
            pictures += record["pictures"]
            left_out += record["left_out"]
            failed += [Failure(**json.loads(line)) for line in self._lines([shard], ERRORS)]
        self._write_errors(failed)
        if complete:
            self._merge(shards)
        return Totals(pictures, left_out, tuple(failed), complete)

    def publish(self, name: str) -> None:
        """Move the files of a finished shard to their places; those that were moved before stay."""
        files = self._state / name / FILES
        for path in list(_paths(files)):
            target = self.out / path
            target.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileNotFoundError):  # another process moves them too
                os.replace(files / path, target)
        shutil.rmtree(files, ignore_errors=True)

    def _check_settings(self) -> None:
        self._state.mkdir(parents=True, exist_ok=True)
        file = self._state / SETTINGS
        wanted = json.loads(json.dumps(self._settings))
        earlier = json.loads(file.read_text(encoding="utf-8")) if file.exists() else wanted
        changed = [name for name in wanted if earlier.get(name) != wanted[name]]
        if changed:
            raise UserError(
                f"{self.out} has labels made with other settings: {', '.join(changed)}. Give another folder, or the "
                "same settings to go on."
            )
        if not file.exists():
            write_json(wanted, file)

    def _names(self) -> list[str]:
        """The shards that are there, finished or not."""
        return sorted(folder.name for folder in self._state.iterdir() if folder.name.isdigit())

    def _write(self, shard: Shard, pictures: Iterable[Labelled | Failure], made: Callable[[], dict[str, Any]]) -> bool:
        """Write a shard; False if there is one of its name: another worker was faster."""
        folder = self._state / f"{_UNFINISHED}{shard.name}-{uuid4().hex[:12]}"
        (folder / FILES).mkdir(parents=True)
        try:
            counts = self._fill(shard, folder, pictures)
            files = {path: file_hash(folder / FILES / path) for path in sorted(_paths(folder / FILES))}
            record = {"shard": shard.name, "digest": shard.digest, **counts, **made(), "files": files}
            (folder / RECORD).write_text(json.dumps(record, ensure_ascii=False), encoding="utf-8", newline="\n")
            try:
                os.rename(folder, self._state / shard.name)
            except OSError:
                if not (self._state / shard.name).exists():
                    raise
                return False
            return True
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _fill(self, shard: Shard, folder: Path, pictures: Iterable[Labelled | Failure]) -> dict[str, int]:
        writer = self._layout.writer(self._layout, shard.name, folder / FILES, folder / PART)
        sample = Sample(self._shown.get(shard.name, 0), self._layout.contents.names)
        counts = {"pictures": 0, "left_out": 0, "errors": 0}
        with (
            (folder / LABELS).open("w", encoding="utf-8", newline="\n") as labels,
            (folder / ERRORS).open("w", encoding="utf-8", newline="\n") as errors,
            ThreadPoolExecutor(self._threads) as threads,
            contextlib.closing(writer),
        ):
            encoded = ahead(threads, lambda one: self._encode(writer, one), pictures, 2 * self._threads)
            for one, written in encoded:
                if isinstance(one, Failure):
                    counts["errors"] += 1
                    errors.write(_line(asdict(one)))
                elif self._is_left_out(one):
                    counts["left_out"] += 1
                else:
                    counts["pictures"] += 1
                    labels.write(_line(described(one)))
                    writer.append(written)
                    sample.offer(one)
        (folder / "sheet").mkdir()
        for position, image in enumerate(sample.drawn()):
            image.save(folder / "sheet" / f"{position:02}.png")
        return counts

    def _encode(self, writer: ShardWriter, one: Labelled | Failure) -> tuple[Labelled | Failure, Any]:
        if isinstance(one, Failure) or self._is_left_out(one):
            return one, None
        if not one.caption and self._caption:
            one = replace(one, caption=self._caption)
        return one, writer.encode(one)

    def _is_left_out(self, one: Labelled) -> bool:
        return self._layout.trains_masked and not any(found.presence > 0 for found in one.findings)

    def _merge(self, shards: Sequence[Shard]) -> None:
        """Write the files that exist once; the manifest is the last. Nobody needs unfinished shards any more."""
        parts = [self._state / shard.name / PART for shard in shards]
        merged = list(self._layout.merge(self.out, parts))
        with atomic_write(self.out / LABELS) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as file:
            file.writelines(f"{line}\n" for line in self._lines(shards, LABELS))
        merged.append(self.out / LABELS)
        drawn = [path for shard in shards for path in sorted((self._state / shard.name / "sheet").iterdir())]
        if drawn:
            chosen = Random(len(drawn)).sample(drawn, min(RESULTS, len(drawn)))  # noqa: S311 - reproducible, not secret
            drawn = sorted(chosen)
            save_image(draw_sheet([Image.open(path) for path in drawn], self._layout.contents.names), self.out / SHEET)
            merged.append(self.out / SHEET)
        records = lines_of([self._state / shard.name / RECORD for shard in shards])
        write_manifest(self.out, self._settings, records, merged)
        for folder in self._state.glob(f"{_UNFINISHED}*"):
            shutil.rmtree(folder, ignore_errors=True)

    def _write_errors(self, failed: Sequence[Failure]) -> None:
        file = self.out / ERRORS
        if not failed:
            file.unlink(missing_ok=True)
            return
        with atomic_write(file) as temporary:
            temporary.write_text("".join(map(_line, map(asdict, failed))), encoding="utf-8", newline="\n")

    def _lines(self, shards: Sequence[Shard], name: str) -> Iterator[str]:
        return lines_of([self._state / shard.name / name for shard in shards])

    def _record(self, name: str) -> dict[str, Any] | None:
        try:
            return json.loads((self._state / name / RECORD).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None

    def _remove(self, name: str) -> None:
        """Remove a shard: its files in their places first, as the record is what tells of them."""
        record = self._record(name)
        for path in record["files"] if record else ():
            (self.out / path).unlink(missing_ok=True)
        shutil.rmtree(self._state / name, ignore_errors=True)
        (self.out / MANIFEST).unlink(missing_ok=True)  # it tells of a data set that is not there any more


def described(one: Labelled) -> dict[str, Any]:
    """A line of `labels.jsonl`."""
    width, height = one.image.size
    concepts = [
        {"name": found.name, "presence": round(found.presence, 4), "area": round(found.area, 6), "box": found.box}
        for found in one.findings
    ]
    return {
        "id": one.id,
        "file_name": one.file_name,
        "width": width,
        "height": height,
        "caption": one.caption,
        "concepts": concepts,
    }


def _paths(folder: Path) -> Iterator[str]:
    """The files below a folder, as paths from it."""
    for parent, _, names in os.walk(folder):
        for name in names:
            yield Path(parent, name).relative_to(folder).as_posix()


def _line(value: dict[str, Any]) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return (text if text.isprintable() else json.dumps(value)) + "\n"
