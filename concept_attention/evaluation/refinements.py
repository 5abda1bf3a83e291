"""Refinements of heatmaps by their image, to be compared."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import Tensor

from ..heatmaps.guided import sharpen_heatmaps
from ..heatmaps.heatmaps import Heatmaps

Refinement = Callable[[Heatmaps, Tensor, tuple[int, int]], Heatmaps]
REFINEMENTS: Mapping[str, Refinement] = {"guided": sharpen_heatmaps}
