"""ai-toolkit's layout for masked training."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from ...files import write_text
from .kohya import Kohya


class AiToolkit(Kohya):
    """`images/` with captions, `masks/` with masks of the same names, and `dataset.yaml` for its configuration.

    Masks lie outside of the pictures' folder, because ai-toolkit trains on every picture below that.

    Source: ostris/ai-toolkit, `mask_path` and `mask_min_value` of its data sets.
    """

    def merge(self, out: Path, parts: Sequence[Path]) -> Iterable[Path]:
        images, masks = (json.dumps(str(out.resolve() / name), ensure_ascii=False) for name in ("images", "masks"))
        path = out / "dataset.yaml"
        lines = [
            "# goes into the process of an ai-toolkit configuration",
            "datasets:",
            f"  - folder_path: {images}",
            f"    mask_path: {masks}",
            "    mask_min_value: 0.0  # weight of the loss outside of the mask",
            '    caption_ext: "txt"',
            "    resolution: [512, 768, 1024]",
        ]
        write_text("".join(f"{line}\n" for line in lines), path)
        return [path]
