"""Findings as rows of a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..images import png_bytes
from .items import Finding

LABEL_COLUMNS = ("concepts", "presence", "area", "box", "mask")


def label_row(findings: Sequence[Finding]) -> dict[str, list[Any]]:
    """What tables hold of a picture: names, presences, areas, boxes (empty for none), and masks as PNG files."""
    return {
        "concepts": [one.name for one in findings],
        "presence": [one.presence for one in findings],
        "area": [one.area for one in findings],
        "box": [list(one.box or ()) for one in findings],
        "mask": [png_bytes(one.mask) for one in findings],
    }


def column(values: Sequence[Any]) -> np.ndarray:
    """Any values as a column of objects."""
    result = np.empty(len(values), object)
    for position, value in enumerate(values):  # an assignment of all at once would make one array of equal lists
        result[position] = value
    return result
