"""What each kind of data set is read as."""

from __future__ import annotations

import io
import json
import pickle
import tarfile
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from concept_attention.errors import UserError
from concept_attention.labelling.items import Item, Source, checked_id
from concept_attention.labelling.sources import open_source
from concept_attention.labelling.sources.prompts import prompt_source
from tests.support.labelling import draw_pictures


def png(colour: str = "red") -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 8), colour).save(file, "PNG")
    return file.getvalue()


def items(source: Source) -> list[Item]:
    """All items, read as a worker does: from a pickled source."""
    worker = pickle.loads(pickle.dumps(source))  # noqa: S301 - our own
    return [item for shard in source.shards() for item in worker.read(shard)]


def write_tar(path: Path, files: list[tuple[str, bytes]]) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, data in files:
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return path


def test_a_folder_is_read_in_order_with_captions(tmp_path: Path) -> None:
    draw_pictures(tmp_path / "b", 2)
    draw_pictures(tmp_path, 3)
    (tmp_path / "01.txt").write_text("\ufeffa boat\n", encoding="utf-8")
    (tmp_path / "b" / "00.caption").write_text("a house", encoding="utf-8")
    (tmp_path / ".hidden.png").write_bytes(png())
    source = open_source([tmp_path], shard_size=2)
    assert [(item.id, item.caption) for item in items(source)] == [
        ("00", ""),
        ("01", "a boat"),
        ("02", ""),
        ("b/00", "a house"),
        ("b/01", ""),
    ]
    assert [shard.count for shard in source.shards()] == [2, 2, 1]
    assert source.shards() == open_source([tmp_path], shard_size=2).shards()


def test_a_folder_given_twice_is_read_once(tmp_path: Path) -> None:
    draw_pictures(tmp_path / "a", 2)
    source = open_source([tmp_path / "a", tmp_path / "a"])
    assert [item.id for item in items(source)] == ["00", "01"]
    assert "given twice" in source.problems()[0].error


def test_names_that_differ_in_case_alone_are_a_problem(tmp_path: Path) -> None:
    for name in ("Cat.png", "cat.jpg"):
        (tmp_path / name).write_bytes(png())
    source = open_source([tmp_path])
    assert [item.file_name for item in items(source)] == ["Cat.png"]
    assert [problem.file_name for problem in source.problems()] == ["cat.jpg"]


def test_an_archive_is_read_by_its_keys(tmp_path: Path) -> None:
    files = [
        ("x/0001.jpg", png()),
        ("x/0001.txt", b"a boat"),
        ("x/0002.png", png()),
        ("x/0002.json", json.dumps({"caption": "a house"}).encode()),
        ("x/0003.cls", b"7"),
        ("../evil.png", png()),
        ("x/0002.webp", png()),
    ]
    read = items(open_source([write_tar(tmp_path / "train-00.tar", files)]))
    assert [(item.id, item.caption, bool(item.error)) for item in read] == [
        ("train-00/x/0001", "a boat", False),
        ("train-00/x/0002", "a house", False),
        ("train-00/../evil", "", True),
        ("train-00/x/0002", "", True),
    ]
    assert read[0].read is not None and read[0].read() == png()


def test_what_is_before_the_damage_of_an_archive_is_read(tmp_path: Path) -> None:
    whole = write_tar(tmp_path / "a.tar", [(f"{number}.png", png()) for number in range(4)])
    whole.write_bytes(whole.read_bytes()[:2200])
    read = items(open_source([whole]))
    assert [item.id for item in read if not item.error] == ["a/0", "a/1"]
    assert "cannot be read to its end" in read[-1].error


def test_an_archive_listed_twice_is_read_once(tmp_path: Path) -> None:
    one = write_tar(tmp_path / "a.tar", [("0.png", png())])
    (tmp_path / "b").mkdir()
    two = write_tar(tmp_path / "b" / "a.tar", [("0.png", png())])
    source = open_source([one, two, one])
    assert [item.id for item in items(source)] == ["a/0", "b/a/0"]
    assert [problem.file_name for problem in source.problems()] == [str(one)]


def test_row_groups_of_a_parquet_file_are_shards(tmp_path: Path) -> None:
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    rows: list[dict[str, Any]] = [{"image": {"bytes": png(), "path": f"{n}.png"}, "text": f"no. {n}"} for n in range(5)]
    rows[3]["image"] = None
    parquet.write_table(arrow.Table.from_pylist(rows), tmp_path / "data.parquet", row_group_size=2)
    source = open_source([tmp_path])
    read = items(source)
    assert [shard.count for shard in source.shards()] == [2, 2, 1]
    assert [(item.id, item.file_name, item.caption) for item in read[:2]] == [
        ("data/000000", "0.png", "no. 0"),
        ("data/000001", "1.png", "no. 1"),
    ]
    assert read[3].error == "The row holds no picture." and read[4].read is not None and read[4].read() == png()


def test_a_coco_file_finds_its_pictures(tmp_path: Path) -> None:
    (tmp_path / "annotations").mkdir()
    draw_pictures(tmp_path / "val2017", 2)
    listed = {
        "images": [{"id": 7, "file_name": "01.png"}, {"id": 8, "file_name": "../00.png"}],
        "annotations": [{"image_id": 7, "caption": "a boat"}, {"image_id": 7, "caption": "another"}],
    }
    file = tmp_path / "annotations" / "captions_val2017.json"
    file.write_text(json.dumps(listed))
    source = open_source([file])
    assert [(item.id, item.caption) for item in items(source)] == [("01", "a boat")]
    assert "cannot name a file" in source.problems()[0].error


def test_every_line_is_a_prompt_with_a_seed_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "prompts.txt").write_text("a house\n\na boat\na house\n", encoding="utf-8")
    read = items(prompt_source(tmp_path / "prompts.txt", shard_size=2))
    assert [(item.id, item.caption, item.number) for item in read] == [
        ("000000", "a house", 0),
        ("000001", "a boat", 1),
        ("000002", "a house", 2),
    ]


def test_what_is_no_data_set_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "one.png").write_bytes(png())
    (tmp_path / "bad.json").write_text("{}")
    (tmp_path / "none.txt").write_text("\n")
    tar = write_tar(tmp_path / "a.tar", [])
    for paths, message in (
        ([tmp_path / "empty"], "There is no picture in"),
        ([tmp_path / "one.png"], "use `concept-attention analyze`"),
        ([tmp_path / "gone"], "There is no "),
        ([tmp_path / "bad.json"], "not a COCO annotation file"),
        ([tar, tmp_path / "empty"], "of one kind, got folders, tar archives"),
    ):
        with pytest.raises(UserError, match=message):
            open_source(paths)
    with pytest.raises(UserError, match="has no prompt"):
        prompt_source(tmp_path / "none.txt")


@pytest.mark.parametrize("name", ["", "/etc/x", "a/../b", "a//b", "C:/x", "a\\b", "a\nb", "a\ud800", "x" * 300])
def test_ids_that_cannot_name_files_are_refused(name: str) -> None:
    with pytest.raises(UserError):
        checked_id(name)
