"""Every layout, read back by what its users read it with: pycocotools, Pillow, tarfile, pyarrow, a TOML parser."""

from __future__ import annotations

import io
import json
import sys
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from concept_attention.choices import LAYOUTS
from concept_attention.errors import UserError
from concept_attention.images import png_bytes
from concept_attention.labelling.formats import layout_named
from concept_attention.labelling.formats.layout import Contents
from concept_attention.labelling.items import Failure, Labelled, Shard, Totals
from concept_attention.labelling.manifest import MANIFEST, verify
from concept_attention.labelling.sink import FolderSink
from tests.support.labelling import SETTINGS, labelled, tree

EMPTY = np.zeros((40, 60), np.uint8)


def ring() -> np.ndarray:
    """A disc with a hole, and a small disc beside it."""
    y, x = np.mgrid[:40, :60] + 0.5
    far, near = np.hypot(y - 20, x - 22), np.hypot(y - 10, x - 52)
    return (255 * (((far < 15) & (far > 6)) | (near < 5))).astype(np.uint8)


def block() -> np.ndarray:
    mask = EMPTY.copy()
    mask[5:25, 30:60] = 255
    return mask


def pictures() -> list[Labelled | Failure]:
    beach = labelled("beach", ring(), block(), caption="a beach 🏖")
    return [
        beach,
        labelled("north/größe.v2", block(), EMPTY, data=b"\xff\xd8 as it is", suffix=".jpg"),
        Failure("gone", "gone.png", "It is not there."),
        labelled("nothing", EMPTY, EMPTY, presence=0.0),
    ]


def written(tmp_path: Path, layout: Any, generated: bool = False) -> tuple[Path, Totals]:
    sink = FolderSink(tmp_path / "out", layout, SETTINGS, generated=generated)
    shards = [Shard("00000", "a", None), Shard("00001", "b", None)]
    sink.begin(shards)
    for shard, some in zip(shards, (pictures()[:2], pictures()[2:]), strict=True):
        sink.write(shard, iter(some), dict)
    return tmp_path / "out", sink.finish(shards, [])


def names(folder: Path) -> list[str]:
    return [name for name in tree(folder) if name not in ("labels.jsonl", "errors.jsonl", "sheet.jpg")]


def grey(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)))


def test_masks_are_one_folder_per_concept(tmp_path: Path) -> None:
    folder, totals = written(tmp_path, "masks")
    ids = ("beach", "north/größe.v2", "nothing")
    assert names(folder) == sorted(f"masks/{concept}/{one}.png" for concept in ("green", "red") for one in ids)
    np.testing.assert_array_equal(grey((folder / "masks/red/beach.png").read_bytes()), ring())
    assert (totals.pictures, totals.left_out, len(totals.failures), totals.complete) == (3, 0, 1, True)


def test_every_layout_lists_what_it_found_and_can_be_verified(tmp_path: Path) -> None:
    for layout in LAYOUTS:
        folder, _ = written(tmp_path / layout, layout)
        labels = [json.loads(line) for line in (folder / "labels.jsonl").read_text(encoding="utf-8").splitlines()]
        assert labels[0]["concepts"][1] == {"name": "green", "presence": 0.75, "area": 0.25, "box": [30, 5, 30, 20]}
        assert labels[1]["id"] == "north/größe.v2"
        assert verify(folder).intact and verify(folder).files > 2
        errors = [json.loads(line) for line in (folder / "errors.jsonl").read_text().splitlines()]
        assert errors == [{"id": "gone", "file_name": "gone.png", "error": "It is not there."}]


def test_trainers_get_pictures_as_they_are_captions_and_the_masks_taken_together(tmp_path: Path) -> None:
    folder, totals = written(tmp_path, "kohya")
    assert totals.left_out == 1  # a picture without any concept teaches nothing
    assert names(folder) == [
        "dataset.toml",
        "images/beach.png",
        "images/beach.txt",
        "images/north__größe.v2.jpg",
        "masks/beach.png",
        "masks/north__größe.v2.png",
    ]
    assert (folder / "images/north__größe.v2.jpg").read_bytes() == b"\xff\xd8 as it is"
    assert (folder / "images/beach.txt").read_text(encoding="utf-8") == "a beach 🏖"
    mask = Image.open(folder / "masks/beach.png")
    np.testing.assert_array_equal(np.asarray(mask), np.maximum(ring(), block()))
    assert mask.size == Image.open(folder / "images/beach.png").size  # as sd-scripts wants it


@pytest.mark.skipif(sys.version_info < (3, 11), reason="tomllib came with Python 3.11")
def test_kohyas_configuration_names_both_folders(tmp_path: Path) -> None:
    import tomllib

    folder, _ = written(tmp_path, "kohya")
    config = tomllib.loads((folder / "dataset.toml").read_text(encoding="utf-8"))
    (subset,) = config["datasets"][0]["subsets"]
    assert sorted(file.stem for file in Path(subset["conditioning_data_dir"]).iterdir()) == sorted(
        file.stem
        for file in Path(subset["image_dir"]).iterdir()
        if file.suffix != config["general"]["caption_extension"]
    )


def test_onetrainers_masks_lie_beside_the_pictures(tmp_path: Path) -> None:
    folder, _ = written(tmp_path, "onetrainer")
    assert {name for name in names(folder) if "beach" in name} == {
        "images/beach.png",
        "images/beach.txt",
        "images/beach-masklabel.png",
    }


def test_ai_toolkit_finds_a_mask_for_every_picture_and_no_mask_among_them(tmp_path: Path) -> None:
    yaml = pytest.importorskip("yaml")
    folder, _ = written(tmp_path, "ai-toolkit")
    (entry,) = yaml.safe_load((folder / "dataset.yaml").read_text(encoding="utf-8"))["datasets"]
    images = [file for file in Path(entry["folder_path"]).rglob("*") if file.suffix in (".png", ".jpg")]
    masks = {file.stem for file in Path(entry["mask_path"]).iterdir()}
    assert {file.stem for file in images} == masks and len(images) == 2
    assert entry["mask_min_value"] == 0 and entry["caption_ext"] == "txt"


@pytest.mark.parametrize(("layout", "least"), [("coco", 1.0), ("coco-polygons", 0.95)])
def test_pycocotools_reads_the_masks(tmp_path: Path, layout: str, least: float) -> None:
    pytest.importorskip("pycocotools")
    from pycocotools.coco import COCO

    folder, _ = written(tmp_path, layout)
    coco = COCO(str(folder / "annotations.json"))
    assert [image["file_name"] for image in coco.imgs.values()] == ["beach.png", "north/größe.v2.png", "nothing.png"]
    expected = {(1, 1): ring(), (1, 2): block(), (2, 1): block()}
    found = {(one["image_id"], one["category_id"]): one for one in coco.anns.values()}
    assert found.keys() == expected.keys()
    for key, mask in expected.items():
        ours, truth = coco.annToMask(found[key]).astype(bool), mask > 0
        assert (ours & truth).sum() / (ours | truth).sum() >= least
        assert found[key]["area"] == truth.sum()
        left, top, width, height = found[key]["bbox"]
        assert truth[top : top + height, left : left + width].sum() == truth.sum()


def test_yolo_polygons_fill_the_masks(tmp_path: Path) -> None:
    mask_tools = pytest.importorskip("pycocotools.mask")
    folder, _ = written(tmp_path, "yolo")
    assert names(folder)[0] == "data.yaml" and "labels/nothing.txt" in names(folder)
    assert (folder / "labels" / "nothing.txt").read_text() == ""  # a picture of background
    filled = np.zeros((2, 40, 60), bool)
    for line in (folder / "labels" / "beach.txt").read_text().splitlines():
        label, *numbers = line.split()
        points = np.array(numbers, float).reshape(-1, 2)
        assert (points >= 0).all() and (points <= 1).all() and len(points) > 2
        polygon = (points * (60, 40)).ravel().tolist()
        filled[int(label)] |= mask_tools.decode(mask_tools.frPyObjects([polygon], 40, 60))[..., 0].astype(bool)
    for ours, mask in zip(filled, (ring(), block()), strict=True):
        assert (ours & (mask > 0)).sum() / (ours | (mask > 0)).sum() >= 0.95


def test_a_webdataset_archive_is_read_as_a_data_set_again(tmp_path: Path) -> None:
    folder, _ = written(tmp_path, "webdataset")
    with tarfile.open(folder / "00000.tar") as archive:
        files = {member.name: archive.extractfile(member).read() for member in archive}  # type: ignore[union-attr]
        assert all(member.mtime == 0 and member.uid == 0 for member in archive)
    assert list(files)[:5] == ["beach.png", "beach.txt", "beach.json", "beach.red.mask.png", "beach.green.mask.png"]
    assert {name.partition(".")[0] for name in files} == {"beach", "north__größe_v2"}
    np.testing.assert_array_equal(grey(files["beach.red.mask.png"]), ring())
    assert json.loads(files["beach.json"])["concepts"][0]["name"] == "red"


def test_a_parquet_row_holds_names_boxes_and_masks(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    folder, _ = written(tmp_path, "parquet", generated=True)
    rows = parquet.read_table(folder / "00000.parquet").to_pylist()
    assert [row["id"] for row in rows] == ["beach", "north/größe.v2"]
    assert rows[0]["concepts"] == ["red", "green"] and rows[0]["box"][1] == [30, 5, 30, 20]
    assert rows[1]["box"] == [[30, 5, 30, 20], []]
    np.testing.assert_array_equal(grey(rows[0]["mask"][0]), ring())
    assert grey(rows[0]["image"]["bytes"]).shape == (40, 60, 3)


def test_made_pictures_are_saved_with_their_labels(tmp_path: Path) -> None:
    for layout in ("masks", "coco"):
        folder, _ = written(tmp_path / layout, layout, generated=True)
        assert (folder / "images" / "beach.png").read_bytes() == png_bytes(Image.new("RGB", (60, 40), "teal"))


def test_verify_names_what_is_missing_changed_and_unknown(tmp_path: Path) -> None:
    folder, _ = written(tmp_path, "masks")
    (folder / "masks/red/beach.png").unlink()
    (folder / "masks/green/beach.png").write_bytes(b"other")
    (folder / "masks/green/mine.png").write_bytes(b"")
    found = verify(folder)
    assert not found.intact
    assert (found.missing, found.changed) == (("masks/red/beach.png",), ("masks/green/beach.png",))
    assert found.unknown == ("masks/green/mine.png",)
    (folder / MANIFEST).unlink()
    with pytest.raises(UserError, match="no manifest.jsonl"):
        verify(folder)


def test_a_missing_package_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UserError, match=r"pyarrow is not installed. Install the `label` extra"):
        layout_named("parquet", Contents(("red",), ("red",)))
    with pytest.raises(UserError, match="format 'pascal' does not exist"):
        layout_named("pascal", Contents(("red",), ("red",)))  # type: ignore[arg-type]
