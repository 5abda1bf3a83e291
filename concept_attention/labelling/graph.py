"""Pictures of a graph with what was found in them; for data sets that grow run by run."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from ..heatmaps.heatmaps import Heatmaps
from ..heatmaps.resize import resize_maps
from ..images import check_aspect, to_pil
from .findings import Maps, find, finding, grey_levels, presences
from .items import Labelled
from .settings import MaskSettings


def labelled_by_heatmaps(
    image: Tensor, heatmaps: Heatmaps, index: int, frame: int, settings: MaskSettings, caption: str = ""
) -> Labelled:
    """A picture with the masks that heatmaps make, at the picture's size. The sink gives it an id.

    Args:
        image: (H, W, 3) float, 0-1.
        heatmaps: of this image, among others; of kind `share`.
        index, frame: which image of their batch, and which of its T for a video.
        settings: the method of the masks, and their concepts.
        caption: of the picture; may be empty.

    Raises:
        UserError: for another aspect ratio, or heatmaps of another kind.
    """
    size = (image.shape[0], image.shape[1])
    check_aspect(size, heatmaps.image_size)
    values = heatmaps.values[index : index + 1]
    values = values[:, :, frame] if heatmaps.video else values
    here = replace(heatmaps, values=values, frame_counts=None).resized(size)
    shares = replace(here, image_size=size)
    findings, together = find(Maps(shares, presences(shares)), settings)
    return Labelled("", "", caption, to_pil(image), findings, together)


def labelled_by_mask(image: Tensor, mask: Tensor, name: str, caption: str = "") -> Labelled:
    """A picture with one finished mask, which is resized to the picture.

    Args:
        image: (H, W, 3) float, 0-1.
        mask: (h, w) float, 0-1.
        name: what the mask is of.
        caption: of the picture; may be empty.

    Raises:
        UserError: for another aspect ratio.
    """
    size = (image.shape[0], image.shape[1])
    check_aspect(size, (mask.shape[0], mask.shape[1]))
    levels = grey_levels(resize_maps(mask.detach().float().cpu(), size).clamp(0, 1))
    found = finding(name, float(levels.max()) / 255, levels)
    return Labelled("", "", caption, to_pil(image), (found,), levels)
