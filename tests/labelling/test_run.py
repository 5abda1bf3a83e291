"""A data set from its source to its sink: every picture once, whatever happens on the way."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from concept_attention.errors import UserError
from concept_attention.labelling import run as run_module
from concept_attention.labelling.findings import find
from concept_attention.labelling.items import Shard, Totals
from concept_attention.labelling.run import Progress, label, pick_devices
from concept_attention.labelling.sources import open_source
from tests.support.labelling import SETTINGS, ColourCrew, ColourLabeller, draw_pictures, tree

ROOT = Path(__file__).resolve().parents[2]


def test_every_picture_gets_the_masks_that_its_own_heatmaps_make(
    label_folder: Any, photos: Path, tmp_path: Path
) -> None:
    totals = label_folder(photos, tmp_path / "out")
    assert totals == Totals(pictures=11, left_out=0, failures=(), complete=True)
    labeller = ColourLabeller(SETTINGS)
    for file in sorted(photos.glob("*.png")):
        image = Image.open(file).convert("RGB")
        (maps,) = labeller.analyze([labeller.scaled(image)], [file.stem], [image.size])
        for found in find(maps, SETTINGS.masks)[0]:
            written = np.asarray(Image.open(tmp_path / "out" / "masks" / found.name / file.name))
            np.testing.assert_array_equal(written, found.mask)


def test_labels_do_not_depend_on_workers_parts_or_order(label_folder: Any, photos: Path, tmp_path: Path) -> None:
    label_folder(photos, tmp_path / "whole", "coco")
    second = label_folder(photos, tmp_path / "parts", "coco", part=(2, 2))
    assert not second.complete and second.pictures == 5  # shards 1 and 3 of 0-3: 3 and 2 pictures
    assert label_folder(photos, tmp_path / "parts", "coco", part=(1, 2)).complete
    assert tree(tmp_path / "parts") == tree(tmp_path / "whole")


def test_run_again_nothing_is_done_again(
    label_folder: Any, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    label_folder(photos, tmp_path / "out")
    before = tree(tmp_path / "out", without=())
    monkeypatch.setattr(run_module, "run_locally", lambda *_: pytest.fail("a worker was started"))
    assert label_folder(photos, tmp_path / "out").complete
    assert tree(tmp_path / "out", without=()) == before


def test_only_the_shard_of_a_changed_picture_is_labelled_again(label_folder: Any, photos: Path, tmp_path: Path) -> None:
    (photos / "04.png").write_bytes(b"")
    first = label_folder(photos, tmp_path / "out")
    assert [failure.file_name for failure in first.failures] == ["04.png"]
    draw_pictures(photos, 5)
    seen: list[Progress] = []
    second = label_folder(photos, tmp_path / "out", on_progress=seen.append)
    assert seen[-1].shards == 1 and second.failures == () and second.pictures == 11
    assert not (tmp_path / "out" / "errors.jsonl").exists()
    label_folder(photos, tmp_path / "fresh")
    assert tree(tmp_path / "out") == tree(tmp_path / "fresh")


def test_files_of_pictures_that_are_gone_go_too(label_folder: Any, photos: Path, tmp_path: Path) -> None:
    label_folder(photos, tmp_path / "out", "kohya")
    for number in range(6, 11):
        (photos / f"{number:02}.png").unlink()
    label_folder(photos, tmp_path / "out", "kohya")
    label_folder(photos, tmp_path / "fresh", "kohya")
    assert tree(tmp_path / "out").keys() == tree(tmp_path / "fresh").keys()


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_bad_pictures_are_named_and_lose_nothing(label_folder: Any, photos: Path, tmp_path: Path) -> None:
    (photos / "20 empty.png").write_bytes(b"")
    (photos / "21 damaged.jpg").write_bytes((photos / "00.png").read_bytes()[:200])
    (photos / "22 text.png").write_text("no picture")
    bomb = Image.new("1", (10_000, 10_000))
    bomb.save(photos / "23 bomb.png")
    (photos / "00.jpg").write_bytes((photos / "00.png").read_bytes())
    draw_pictures(photos / "größe 雪 🏠", 1)
    (photos / "z.png").symlink_to(photos / "not there.png")
    totals = label_folder(photos, tmp_path / "out")
    errors = {failure.file_name: failure.error for failure in totals.failures}
    assert set(errors) == {"00.png", "20 empty.png", "21 damaged.jpg", "22 text.png", "23 bomb.png", "z.png"}
    assert "name of those of 00.jpg" in errors["00.png"]
    assert "empty" in errors["20 empty.png"] and "10000 x 10000 pixels" in errors["23 bomb.png"]
    lines = [json.loads(line) for line in (tmp_path / "out" / "errors.jsonl").read_text().splitlines()]
    assert {line["file_name"]: line["error"] for line in lines} == errors
    assert totals.complete and totals.pictures == 12
    assert (tmp_path / "out" / "masks" / "red" / "größe 雪 🏠" / "00.png").is_file()


def test_a_sink_that_cannot_write_ends_the_run_and_loses_no_finished_shard(photos: Path) -> None:
    """As on a full disk: what is written stays, the failed shard is named, and nothing waits for ever."""

    class Sink:
        def __init__(self) -> None:
            self.written: dict[str, list[Any]] = {}

        def begin(self, shards: Any) -> None: ...

        def missing(self, shards: Any) -> list[Shard]:
            return [shard for shard in shards if shard.name not in self.written]

        def write(self, shard: Shard, pictures: Any, made: Any) -> None:
            one = next(pictures)
            if shard.name == "00001":
                raise OSError(28, "No space left on device")
            self.written[shard.name] = [one, *pictures]

        def finish(self, shards: Any, failures: Any) -> Any:
            return failures

    sink, source = Sink(), open_source([photos], shard_size=3)
    shards = source.shards()
    outcomes = list(ColourCrew(SETTINGS, source, sink).worker("cpu").label(shards))
    assert [outcome.fatal for outcome in outcomes] == [False, True]
    assert "No space left" in outcomes[1].error
    assert len(sink.written["00000"]) == 3


def test_a_user_can_write_sources_and_sinks(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_module, "Crew", ColourCrew)
    areas: dict[str, float] = {}

    class Sink:
        def begin(self, shards: Any) -> None: ...

        def missing(self, shards: Any) -> list[Shard]:
            return list(shards)

        def write(self, shard: Shard, pictures: Any, made: Any) -> None:
            areas.update({one.id: one.findings[0].area for one in pictures})

        def finish(self, shards: Any, failures: Any) -> Totals:
            return Totals(len(areas), 0, tuple(failures), True)

    assert label(open_source([photos]), Sink(), SETTINGS, devices=["cpu"]).pictures == 11
    assert len(areas) == 11 and 0 < sum(areas.values()) < 11


def test_progress_tells_pictures_and_time(label_folder: Any, photos: Path, tmp_path: Path) -> None:
    seen: list[Progress] = []
    label_folder(photos, tmp_path / "out", on_progress=seen.append)
    assert [one.done for one in seen] == sorted(one.done for one in seen)
    assert (seen[-1].done, seen[-1].total, seen[-1].shards_done, seen[-1].shards) == (11, 11, 4, 4)


def test_parts_and_devices_are_checked(label_folder: Any, photos: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="I from 1 to N, got 3/2"):
        label_folder(photos, tmp_path / "out", part=(3, 2))
    with pytest.raises(UserError, match="engine 'spark'"):
        label_folder(photos, tmp_path / "out", engine="spark")
    assert pick_devices(["cpu"], None) == ["cpu"]
    assert pick_devices(["cuda:0", "cuda:1"], 3) == ["cuda:0", "cuda:1", "cuda:0"]


PROGRAM = """
import sys
from pathlib import Path
from concept_attention.labelling import run
from concept_attention.labelling.sink import FolderSink
from concept_attention.labelling.sources import open_source
from tests.support.labelling import SETTINGS, ColourCrew

if __name__ == "__main__":
    run.Crew = ColourCrew
    sink = FolderSink(Path(sys.argv[2]), "coco", SETTINGS)
    devices = ["cpu"] * int(sys.argv[3])
    print("begun", flush=True)
    totals = run.label(open_source([Path(sys.argv[1])], shard_size=3), sink, SETTINGS, devices=devices)
    sys.exit(int(not totals.complete))
"""


def start(tmp_path: Path, photos: Path, workers: int, pause: float) -> subprocess.Popen[str]:
    """A driver of its own process group, which has begun."""
    program = tmp_path / "driver.py"
    program.write_text(PROGRAM)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PAUSE": str(pause)}
    process = subprocess.Popen(
        [sys.executable, program, photos, tmp_path / "out", str(workers)],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None and process.stdout.readline() == "begun\n"
    return process


def finished(out: Path) -> int:
    return len(list(out.glob(".shards/*/record.json")))


def wait_for_shards(process: subprocess.Popen[str], out: Path, count: int) -> None:
    while finished(out) < count and process.poll() is None:
        time.sleep(0.01)


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
def test_after_kills_of_the_driver_the_labels_are_those_of_an_undisturbed_run(
    label_folder: Any, photos: Path, tmp_path: Path
) -> None:
    """Twice at a random moment after another shard is there; the benchmark does it twenty times."""
    label_folder(photos, tmp_path / "undisturbed", "coco")
    moments = random.Random(0)  # noqa: S311 - reproducible, not secret
    for kill in range(2):
        process = start(tmp_path, photos, 1, 0.03)
        wait_for_shards(process, tmp_path / "out", kill + 1)
        time.sleep(moments.uniform(0, 0.08))
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert start(tmp_path, photos, 1, 0).wait() == 0
    assert tree(tmp_path / "out") == tree(tmp_path / "undisturbed")
    assert not list((tmp_path / "out").glob(".shards/unfinished*"))


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
def test_the_shards_of_a_killed_worker_are_done_by_another(label_folder: Any, photos: Path, tmp_path: Path) -> None:
    import psutil

    label_folder(photos, tmp_path / "undisturbed", "coco")
    process = start(tmp_path, photos, 2, 0.1)
    wait_for_shards(process, tmp_path / "out", 1)
    workers = [child for child in psutil.Process(process.pid).children() if "spawn_main" in " ".join(child.cmdline())]
    os.kill(workers[0].pid, signal.SIGKILL)
    assert process.wait() == 0
    assert tree(tmp_path / "out") == tree(tmp_path / "undisturbed")
