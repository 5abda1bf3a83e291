"""ImageNet-Segmentation (Guillaumin, Küttel, Ferrari, IJCV 2014): gtsegs_ijcv.mat, one object per picture."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ...errors import UserError
from .example import Example
from .wordnet import SynsetWords

FILE = "gtsegs_ijcv.mat"


class ImageNetSegmentation:
    """See `DataSet`: label 1 is the object of the picture, whose word each picture has for itself.

    Args:
        path: the file, or the folder it is in.
        names: see `wordnet.SynsetWords`.

    Raises:
        UserError: for a missing file or reader, a synset without a word.

    Convention: a MATLAB 7.3 file is HDF5; its arrays are transposed, and its cells hold references.
    """

    name = "imagenet-seg"
    classes: Sequence[str] = ("background", "object")
    background = True

    def __init__(self, path: Path, names: Path | None) -> None:
        file = path / FILE if path.is_dir() else path
        if not file.is_file():
            raise UserError(
                f"No {FILE} in {path}. It can be got from "
                "https://calvin-vision.net/datasets/imagenet-auto-annotations/ (or look for its name)."
            )
        self._words = SynsetWords(names)
        self.words_from = self._words.rule
        self.files: Sequence[Path] = [file, *([] if names is None else [names])]
        self._file = _open(file)
        self._cells = {key: self._file[f"/value/{key}"] for key in ("img", "gt", "id")}

    def __len__(self) -> int:
        return int(self._cells["img"].shape[0])

    def __getitem__(self, index: int) -> Example:
        file = self._file
        image = np.asarray(file[self._cells["img"][index, 0]][()])
        image = image.transpose(2, 1, 0) if image.ndim == 3 else image.T
        annotations = file[self._cells["gt"][index, 0]]  # several of one picture; the first counts
        labels = np.asarray(file[annotations[0, 0]][()]).T
        text = np.asarray(file[self._cells["id"][index, 0]][()]).astype("<u2").tobytes().decode("utf-16-le").strip()
        picture = Image.fromarray(np.ascontiguousarray(image).squeeze()).convert("RGB")
        return Example(text, picture, (labels > 0).astype(np.uint8), {1: self._words[text.partition("_")[0]]})


def _open(path: Path) -> Any:
    try:
        h5py = import_module("h5py")
    except ModuleNotFoundError:
        raise UserError("Reading MATLAB files needs h5py: pip install 'concept-attention[benchmark]'.") from None
    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise UserError(f"Cannot read {path} as a MATLAB 7.3 file: {error}. Get it anew.") from error
