"""Writes examples in the formats that the readers read: for tests, and to see a data set of one's own in them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from .example import VOID, Example
from .imagenet import FILE

_PALETTE = [value for index in range(256) for value in (index * 67 % 256, index * 113 % 256, index * 197 % 256)]


def write_voc(examples: Iterable[Example], root: Path) -> None:
    """Write pictures and label maps as PASCAL VOC 2012 has them: JPEG, and PNG of mode P.

    Args:
        examples: labels 0 to 20, or void.
        root: folder that gets `VOCdevkit/`.
    """
    folder = root / "VOCdevkit" / "VOC2012"
    for name in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    ids = []
    for example in examples:
        example.image.save(folder / "JPEGImages" / f"{example.id}.jpg", quality=95)
        labels = Image.fromarray(example.labels)
        labels.putpalette(_PALETTE)  # which makes it one of mode P
        labels.save(folder / "SegmentationClass" / f"{example.id}.png")
        ids.append(example.id)
    (folder / "ImageSets" / "Segmentation" / "val.txt").write_text("".join(f"{one}\n" for one in ids))


def write_folder(examples: Iterable[Example], root: Path, classes: Sequence[str]) -> None:
    """Write pictures, masks and the class list as a folder of one's own has them."""
    for name in ("images", "masks"):
        (root / name).mkdir(parents=True, exist_ok=True)
    for example in examples:
        example.image.save(root / "images" / f"{example.id}.png")
        Image.fromarray(example.labels).save(root / "masks" / f"{example.id}.png")
    (root / "classes.txt").write_text("".join(f"{word}\n" for word in classes), encoding="utf-8")


def write_imagenet(examples: Sequence[Example], root: Path) -> None:
    """Write pictures and binary label maps as ImageNet-Segmentation's MATLAB 7.3 file has them.

    Args:
        examples: ids such as `n00000001_12`; every label but 0 and void is the object.
        root: folder that gets the file.
    """
    h5py: Any = import_module("h5py")

    with h5py.File(root / FILE, "w") as file:
        store, cells = file.create_group("#refs#"), {}
        for key in ("img", "gt", "id", "target"):
            cells[key] = file.create_dataset(f"value/{key}", (len(examples), 1), dtype=h5py.ref_dtype)
        for index, example in enumerate(examples):
            labels = ((example.labels > 0) & (example.labels != VOID)).astype(np.uint8)
            code = np.frombuffer(example.id.encode("utf-16-le"), "<u2")[:, None]
            truth = store.create_dataset(f"truth{index}", data=labels.T)
            annotations = store.create_dataset(f"gt{index}", (1, 1), dtype=h5py.ref_dtype)
            annotations[0, 0] = truth.ref
            cells["img"][index, 0] = store.create_dataset(f"img{index}", data=np.asarray(example.image).T).ref
            cells["gt"][index, 0] = annotations.ref
            cells["id"][index, 0] = store.create_dataset(f"id{index}", data=code).ref
            cells["target"][index, 0] = truth.ref
