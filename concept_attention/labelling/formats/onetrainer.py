"""OneTrainer's layout for masked training."""

from __future__ import annotations

from collections.abc import Mapping

from ...images import png_bytes
from ..items import Labelled
from .layout import Layout, captioned, picture_file


class OneTrainer(Layout):
    """`images/` with `name.jpg`, its caption `name.txt`, and `name-masklabel.png`: what is white is learned.

    The folder `images` is the concept's path in OneTrainer, and "Masked Training" is on.
    """

    trains_masked = True

    def files(self, labelled: Labelled) -> Mapping[str, bytes]:
        name = f"images/{labelled.flat_id}"
        suffix, data = picture_file(labelled)
        return {
            f"{name}{suffix}": data,
            **captioned(labelled, f"{name}.txt"),
            f"{name}-masklabel.png": png_bytes(labelled.together),
        }
