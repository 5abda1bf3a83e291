"""The layout of kohya's sd-scripts for masked loss."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from ...files import write_text
from ...images import png_bytes
from ..items import Labelled
from .layout import Layout, captioned, picture_file


class Kohya(Layout):
    """`images/` with captions, `masks/` with masks of the same names, and `dataset.toml` that names both.

    The scripts read the red channel of a mask, white is learned, and need `--masked_loss`.

    Source: kohya-ss/sd-scripts, docs/masked_loss_README and docs/config_README.
    """

    trains_masked = True

    def files(self, labelled: Labelled) -> Mapping[str, bytes]:
        suffix, data = picture_file(labelled)
        return {
            f"images/{labelled.flat_id}{suffix}": data,
            **captioned(labelled, f"images/{labelled.flat_id}.txt"),
            f"masks/{labelled.flat_id}.png": png_bytes(labelled.together),
        }

    def merge(self, out: Path, parts: Sequence[Path]) -> Iterable[Path]:
        images, masks = (json.dumps(str(out.resolve() / name), ensure_ascii=False) for name in ("images", "masks"))
        path = out / "dataset.toml"
        lines = [
            "# sd-scripts: --dataset_config dataset.toml --masked_loss",
            "[general]",
            'caption_extension = ".txt"',
            "",
            "[[datasets]]",
            "resolution = 1024",
            "batch_size = 1",
            "enable_bucket = true",
            "",
            "[[datasets.subsets]]",
            f"image_dir = {images}",
            f"conditioning_data_dir = {masks}",
            "num_repeats = 1",
        ]
        write_text("".join(f"{line}\n" for line in lines), path)
        return [path]
