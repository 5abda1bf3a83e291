"""A folder of labels: shards that are written twice, half moved, or in each other's way."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from concept_attention.errors import UserError
from concept_attention.labelling.items import Labelled, Shard
from concept_attention.labelling.settings import MaskSettings
from concept_attention.labelling.sheet import RESULTS, places
from concept_attention.labelling.sink import FolderSink
from tests.support.labelling import SETTINGS, labelled, tree

WHITE = np.full((20, 30), 255, np.uint8)
SHARDS = [Shard("00000", "a", None), Shard("00001", "b", None)]


def pictures(number: int) -> Iterator[Labelled]:
    return iter([labelled(f"{number}-{index}", WHITE, caption="a") for index in range(3)])


def filled(out: Path, layout: str = "kohya") -> FolderSink:
    sink = FolderSink(out, layout, SETTINGS)  # type: ignore[arg-type]
    sink.begin(SHARDS)
    for number, shard in enumerate(SHARDS):
        sink.write(shard, pictures(number), dict)
    return sink


def test_a_shard_that_is_written_twice_is_there_once(tmp_path: Path) -> None:
    sink = filled(tmp_path / "twice")
    sink.write(SHARDS[0], pictures(0), dict)
    sink.finish(SHARDS, [])
    filled(tmp_path / "once").finish(SHARDS, [])
    once, twice = tree(tmp_path / "once"), tree(tmp_path / "twice")
    assert {name for name in once | twice if once.get(name) != twice.get(name)} == {
        "dataset.toml"
    }  # it names its folder
    assert not list((tmp_path / "twice" / ".shards").glob("unfinished*"))


def test_files_that_were_not_moved_when_a_worker_was_killed_are_moved_later(tmp_path: Path) -> None:
    sink = filled(tmp_path / "out")
    before = tree(tmp_path / "out")
    waiting = tmp_path / "out" / ".shards" / "00001" / "files" / "images"
    waiting.mkdir(parents=True)
    (tmp_path / "out" / "images" / "1-2.png").rename(waiting / "1-2.png")
    assert sink.finish(SHARDS, []).complete
    assert {name for name in tree(tmp_path / "out") if name.startswith(("images", "masks"))} == set(before)


def test_what_a_failed_shard_has_written_is_gone(tmp_path: Path) -> None:
    sink = FolderSink(tmp_path / "out", "kohya", SETTINGS)
    sink.begin(SHARDS)

    def cut_off() -> Iterator[Labelled]:
        yield from pictures(0)
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        sink.write(SHARDS[0], cut_off(), dict)
    assert sink.missing(SHARDS) == SHARDS and tree(tmp_path / "out", without=()).keys() == {".shards/settings.json"}


def test_labels_of_other_settings_are_not_mixed(tmp_path: Path) -> None:
    filled(tmp_path / "out")
    with pytest.raises(UserError, match="made with other settings: format, caption"):
        FolderSink(tmp_path / "out", "yolo", SETTINGS, caption="b").begin(SHARDS)


def test_shards_that_the_data_set_has_no_more_are_removed_with_their_files(tmp_path: Path) -> None:
    sink = filled(tmp_path / "out")
    sink.finish(SHARDS, [])
    sink.begin(SHARDS[:1])
    assert not (tmp_path / "out" / "manifest.jsonl").exists()
    sink.finish(SHARDS[:1], [])
    assert {path.stem for path in (tmp_path / "out" / "images").glob("*.png")} == {"0-0", "0-1", "0-2"}


def test_pictures_of_a_graph_are_appended(tmp_path: Path) -> None:
    for number in range(12):
        totals = FolderSink(tmp_path, "coco", MaskSettings(("red",))).add(list(pictures(number)))
    assert totals.pictures == 36 and totals.complete
    listed = json.loads((tmp_path / "annotations.json").read_text())
    assert [image["file_name"] for image in listed["images"]][-1] == "00011_002.png"
    assert len({image["file_name"] for image in listed["images"]}) == 36
    shutil.rmtree(tmp_path / ".shards" / "00003")  # a gap is no reason to overwrite
    assert FolderSink(tmp_path, "coco", MaskSettings(("red",))).add(list(pictures(0))).pictures == 36
    assert (tmp_path / ".shards" / "00012").exists()


@pytest.mark.parametrize("count", [0, 1, 7, 24, 300])
def test_the_sheet_shows_results_of_shards_drawn_at_random(count: int) -> None:
    names = [f"{number:05}" for number in range(count)]
    shown = places(names)
    assert sum(shown.values()) == (RESULTS if count else 0)
    assert shown == places(names) and set(shown) <= set(names)
    assert max(shown.values(), default=0) - min(shown.values(), default=0) <= 1


def test_the_sheet_has_a_pair_of_pictures_for_every_result(tmp_path: Path) -> None:
    filled(tmp_path / "out").finish(SHARDS, [])
    sheet = np.asarray(Image.open(tmp_path / "out" / "sheet.jpg")).astype(int)
    tile = sheet[12 + 20 + 100, 12:416]  # the middle of the first result: the picture, then the picture with its mask
    assert np.abs(tile[100] - (0, 128, 128)).max() < 25
    assert np.abs(tile[304] - (0.35 * np.array((0, 128, 128)) + 0.65 * np.array((230, 159, 0)))).max() < 12
