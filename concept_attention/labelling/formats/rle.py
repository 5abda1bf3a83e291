"""COCO's run-length encoding of masks, compressed as pycocotools does it."""

from __future__ import annotations

import numpy as np


def encode_rle(mask: np.ndarray) -> dict[str, object]:
    """Encode a mask, (H, W) bool.

    Returns:
        `size`, (H, W), and `counts`: lengths of runs of 0 and 1 in turn, column by column, beginning with those of 0.
        From the fourth on each is written as its difference from the one two before, in groups of 5 bits.

    >>> encode_rle(np.array([[False, True], [False, True]]))
    {'size': [2, 2], 'counts': '22'}
    """
    flat = mask.T.ravel()
    ends = np.flatnonzero(np.diff(flat)) + 1
    counts = np.diff([0, *ends, flat.size]).tolist()
    if flat[0]:
        counts.insert(0, 0)
    deltas = [count - counts[index - 2] if index > 2 else count for index, count in enumerate(counts)]
    return {"size": list(mask.shape), "counts": "".join(map(_characters, deltas))}


def _characters(value: int) -> str:
    """A whole number as characters of 5 bits each, the lowest first; the sixth bit says that more follow."""
    written = ""
    while True:
        bits, value = value & 31, value >> 5
        more = value != (-1 if bits & 16 else 0)
        written += chr(48 + bits + 32 * more)
        if not more:
            return written
