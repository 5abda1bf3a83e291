"""Data sets by name."""

from __future__ import annotations

from pathlib import Path

from ...errors import UserError
from .example import DataSet
from .imagenet import ImageNetSegmentation
from .png import LAYOUTS, open_folder, open_png


def open_dataset(name: str, path: Path, names: Path | None = None) -> DataSet:
    """Open a data set; nothing is downloaded.

    Args:
        name: `imagenet-seg`, `folder`, or a key of `LAYOUTS`.
        path: its folder.
        names: class list in place of the data set's own, or words for ImageNet-Segmentation's synsets.

    Raises:
        UserError: if it is not there; the text says which files were expected, and where they can be got.
    """
    if not path.exists():
        raise UserError(f"{path} does not exist. Give the folder of {name} with --data.")
    if name == "imagenet-seg":
        return ImageNetSegmentation(path, names)
    if name == "folder":
        return open_folder(path, names)
    return open_png(name, LAYOUTS[name], path, names)
