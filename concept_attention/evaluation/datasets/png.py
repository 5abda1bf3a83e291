"""Data sets of pictures with one index PNG each: VOC, Context, COCO, ADE20K, Cityscapes, a folder of one's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from ...errors import UserError
from ...images import load_image, to_pil
from .example import VOID, Example, shown_words

Pair = tuple[Path, Path]  # a picture and its label map
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")


@dataclass(frozen=True)
class Layout:
    """How a data set lies on the disk, and what the values of its label maps mean.

    Attributes:
        pairs: finds the pictures and their label maps below the folder.
        expected: the files it looks for, for people.
        names: file in `names/` with the word of every class.
        background: whether label 0 of the result is what belongs to no class.
        value_of: maps a value in the file to a label; values that are not among them are void.
        source: where the data set can be got.
    """

    pairs: Callable[[Path], list[Pair]]
    expected: str
    names: str
    background: bool
    value_of: Mapping[int, int]
    source: str


@dataclass(frozen=True, eq=False)
class PngDataSet:
    """See `DataSet`; `table` has the label of each of the 256 values of a file."""

    name: str
    pairs: Sequence[Pair]
    classes: Sequence[str]
    background: bool
    table: np.ndarray
    files: Sequence[Path] = ()
    words_from: str = ""

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> Example:
        picture, path = self.pairs[index]
        image = to_pil(load_image(picture))
        labels = self.table[read_indices(path)]
        if labels.shape != (image.height, image.width):
            raise UserError(
                f"{path.name} is {labels.shape[1]} x {labels.shape[0]} pixels but its picture is {image.width} x "
                f"{image.height}. Give every picture a label map of its own size."
            )
        return Example(picture.stem, image, labels, shown_words(labels, self.classes, self.background))


def read_indices(path: Path) -> np.ndarray:
    """The values of a label map, (H, W) uint8: of a palette image the indices, not the colours.

    Raises:
        UserError: for a file that is missing or has colours.
    """
    try:
        with Image.open(path) as image:
            if image.mode not in ("P", "L", "1"):
                raise UserError(f"{path} is in mode {image.mode}, expected one channel of labels (L or P).")
            return np.asarray(image, dtype=np.uint8)
    except OSError as error:
        raise UserError(f"Cannot read the label map {path}: {error}. Check the file.") from error


def words_of(name: str) -> list[str]:
    """The words of a list that comes with the package, in the order of the labels."""
    return read_words(Path(__file__).with_name("names") / f"{name}.txt")


def read_words(path: Path) -> list[str]:
    """One word or phrase per line; empty lines are left out."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise UserError(f"Cannot read the class list {path}: {error.strerror}. Give one class per line.") from error
    return [line.strip() for line in lines if line.strip()]


def open_png(name: str, layout: Layout, root: Path, names: Path | None = None) -> PngDataSet:
    """Open a data set of known layout, with other words for its classes if a list is given.

    Raises:
        UserError: if it is not there, saying what was expected, and where to get it; for a list of another length.
    """
    pairs = layout.pairs(root)
    if not pairs:
        raise UserError(f"No {name} in {root}: expected {layout.expected}. It can be got from {layout.source}.")
    words = usual = words_of(layout.names)
    if names is not None:
        words = read_words(names)
        if len(words) != len(usual):
            raise UserError(f"{names} lists {len(words)} classes, but {name} has {len(usual)}.")
    table = np.full(256, VOID, dtype=np.uint8)
    for value, label in layout.value_of.items():
        table[value] = label
    classes = ["background", *words] if layout.background else words
    return PngDataSet(name, pairs, classes, layout.background, table, [path for _, path in pairs], str(names or ""))


def open_folder(root: Path, names: Path | None) -> PngDataSet:
    """A folder of one's own: `images/`, `masks/` with a PNG of the same name each, `classes.txt`.

    Line n of the class list (from 0) is the class of value n in the masks; 255 is void. A first line "background" is
    what belongs to no class.
    """
    listed = root / "classes.txt" if names is None else names
    pairs = beside(root / "images", root / "masks", ".png")
    if not pairs:
        raise UserError(
            f"No pictures with masks in {root}: expected images/NAME.jpg (or .png, .webp), masks/NAME.png with the "
            "number of its class in every pixel, and classes.txt with one class per line."
        )
    words = read_words(listed)
    if not 1 <= len(words) <= VOID:
        raise UserError(f"{listed} lists {len(words)} classes, expected 1 to {VOID}.")
    background = words[0].casefold() == "background"
    table = np.arange(256, dtype=np.uint8)
    unknown = sorted({int(v) for _, path in pairs for v in np.unique(read_indices(path))} - {*range(len(words)), VOID})
    if unknown:
        raise UserError(f"The masks have the value {unknown[0]}, but {listed} has {len(words)} classes from 0.")
    return PngDataSet("folder", pairs, words, background, table, [listed, *(path for _, path in pairs)])


def beside(images: Path, labels: Path, suffix: str, of_image: str = "") -> list[Pair]:
    """Pictures of a folder (and of its folders) with the label map of the same name in another, sorted."""
    found = []
    for picture in sorted(images.rglob("*")) if images.is_dir() else ():
        if picture.suffix.lower() in SUFFIXES and picture.stem.endswith(of_image):
            name = picture.stem.removesuffix(of_image) + suffix
            label = labels / picture.parent.relative_to(images) / name
            if label.is_file():
                found.append((picture, label))
    return found


def listed(root: Path, year: str, split: str, labels: str) -> list[Pair]:
    """Pictures of a VOC-like data set that its split file lists."""
    folder = next((one for one in (root / "VOCdevkit" / year, root / year, root) if (one / split).is_file()), None)
    if folder is None:
        return []
    names = (folder / split).read_text(encoding="utf-8").split()
    return [(folder / "JPEGImages" / f"{name}.jpg", folder / labels / f"{name}.png") for name in names]


def cityscapes_pairs(root: Path) -> list[Pair]:
    return beside(
        root / "leftImg8bit" / "val", root / "gtFine" / "val", "_gtFine_labelTrainIds.png", of_image="_leftImg8bit"
    )


def _voc(background: bool) -> Layout:
    return Layout(
        lambda root: listed(root, "VOC2012", "ImageSets/Segmentation/val.txt", "SegmentationClass"),
        "VOCdevkit/VOC2012/ with JPEGImages, SegmentationClass and ImageSets/Segmentation/val.txt",
        "voc",
        background,
        {value: value if background else value - 1 for value in range(0 if background else 1, 21)},
        "http://host.robots.ox.ac.uk/pascal/VOC/voc2012/",
    )


def _context(background: bool) -> Layout:
    return Layout(
        lambda root: listed(root, "VOC2010", "ImageSets/SegmentationContext/val.txt", "SegmentationClassContext"),
        "VOCdevkit/VOC2010/ with JPEGImages, SegmentationClassContext (0 background, 1-59, as MMSegmentation's "
        "converter writes it from trainval_merged.json) and ImageSets/SegmentationContext/val.txt",
        "context",
        background,
        {value: value if background else value - 1 for value in range(0 if background else 1, 60)},
        "https://cs.stanford.edu/~roozbeh/pascal-context/",
    )


# COCO numbers its 80 things from 1 to 90 and its 91 stuff classes from 92 to 182, with gaps among the things; the
# files hold one less.
_GAPS = (12, 26, 29, 30, 45, 66, 68, 69, 71, 83, 91)
_COCO = [value for value in range(182) if value + 1 not in _GAPS]
_COCO_FILES = "val2017/*.jpg and stuffthingmaps/val2017/*.png"
_COCO_SOURCE = "https://github.com/nightrome/cocostuff"


def _coco_pairs(root: Path) -> list[Pair]:
    pictures = root / "val2017" if (root / "val2017").is_dir() else root / "images" / "val2017"
    return beside(pictures, root / "stuffthingmaps" / "val2017", ".png")


# The 27 groups of COCO-Stuff's hierarchy, and the group of each class.
_GROUPS, _GROUP_OF = words_of("coco_groups"), words_of("coco_group_of")
_COCO_GROUPS = {value: _GROUPS.index(group) for value, group in zip(_COCO, _GROUP_OF, strict=True)}
_COCO_OBJECT = {value: label + 1 if label < 80 else 0 for label, value in enumerate(_COCO)}

LAYOUTS: Mapping[str, Layout] = {
    "voc-single": _voc(True),
    "voc": _voc(True),
    "voc20": _voc(False),
    "voc21": _voc(True),
    "context59": _context(False),
    "context60": _context(True),
    "coco-object": Layout(_coco_pairs, _COCO_FILES, "coco_things", True, _COCO_OBJECT, _COCO_SOURCE),
    "coco-stuff": Layout(
        _coco_pairs, _COCO_FILES, "coco_stuff", False, {v: n for n, v in enumerate(_COCO)}, _COCO_SOURCE
    ),
    "coco-stuff27": Layout(_coco_pairs, _COCO_FILES, "coco_groups", False, _COCO_GROUPS, _COCO_SOURCE),
    "ade150": Layout(
        lambda root: beside(root / "images" / "validation", root / "annotations" / "validation", ".png"),
        "images/validation/*.jpg and annotations/validation/*.png (the folder ADEChallengeData2016)",
        "ade",
        False,
        {value: value - 1 for value in range(1, 151)},
        "http://sceneparsing.csail.mit.edu/",
    ),
    "cityscapes19": Layout(
        cityscapes_pairs,
        "leftImg8bit/val/*/*_leftImg8bit.png and gtFine/val/*/*_gtFine_labelTrainIds.png",
        "cityscapes",
        False,
        {value: value for value in range(19)},
        "https://www.cityscapes-dataset.com/",
    ),
}
