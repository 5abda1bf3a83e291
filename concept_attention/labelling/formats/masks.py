"""A folder of masks for each concept."""

from __future__ import annotations

from collections.abc import Mapping

from ...images import png_bytes
from ..items import Labelled
from .layout import Layout


class Masks(Layout):
    """`masks/<concept>/<picture>.png`, in subfolders like the pictures; `images/` has those made from prompts."""

    def files(self, labelled: Labelled) -> Mapping[str, bytes]:
        made = {f"images/{labelled.id}.png": png_bytes(labelled.image)} if self.contents.generated else {}
        masks = {
            f"masks/{self.contents.slug(one.name)}/{labelled.id}.png": png_bytes(one.mask) for one in labelled.findings
        }
        return {**made, **masks}
