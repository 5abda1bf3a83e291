"""Refinements of heatmaps by their image, to be compared."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from torch import Tensor

from ..heatmaps.guided import sharpen_heatmaps
from ..heatmaps.heatmaps import Heatmaps

Refinement = Callable[[Heatmaps, Tensor, tuple[int, int]], Heatmaps]
# `filter` is the guided filter alone, `guided` what nodes and the command line do.
REFINEMENTS: Mapping[str, Refinement] = {"filter": partial(sharpen_heatmaps, rounds=0), "guided": sharpen_heatmaps}
