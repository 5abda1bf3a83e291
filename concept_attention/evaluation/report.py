"""The results of a benchmark: a table for people, JSON and CSV files, and the figure of a sweep."""

from __future__ import annotations

import csv
import hashlib
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from ..files import atomic_write, write_text
from .measured import Estimate, Measured, estimates
from .protocols import Protocol

# What arXiv:2502.04320 prints in its tables of segmentation, in percent. Its mIoU on ImageNet is accuracy /
# (2 - accuracy) in the rows that its own script makes.
PUBLISHED: Mapping[str, Mapping[str, Mapping[str, float]]] = {
    "imagenet-seg": {
        "paper, Flux schnell": {"accuracy": 83.07, "paper_iou": 71.04, "average_precision": 90.45},
        "paper, SD3.5": {"accuracy": 81.92, "paper_iou": 67.47, "average_precision": 90.79},
    },
    "voc-single": {
        "paper, Flux schnell": {"accuracy": 87.85, "mean_iou": 76.45, "average_precision": 90.19},
        "paper, SD3.5": {"accuracy": 83.90, "mean_iou": 69.93, "average_precision": 90.02},
    },
}
TOLERANCE = {"accuracy": 1.0, "paper_iou": 1.5, "mean_iou": 1.5, "average_precision": 1.0}  # points, on the full set
Row = Mapping[str, Estimate]


def figures(pictures: Sequence[Measured], protocol: Protocol) -> dict[str, Estimate]:
    """Every figure with its interval."""
    return estimates(pictures, protocol.pool)


def by_word(pictures: Sequence[Measured], protocol: Protocol) -> dict[str, dict[str, float]]:
    """Figures of the pictures of each word, with how many there are; empty where pictures show several things."""
    words = sorted({picture.word for picture in pictures if picture.word})
    found = {}
    for word in words:
        of_word = [picture for picture in pictures if picture.word == word]
        sums = {name: np.sum([picture.counts[name] for picture in of_word], axis=0) for name in of_word[0].counts}
        found[word] = {"pictures": len(of_word), **protocol.pool(sums)}
    return found


def table(rows: Mapping[str, Row], published: Mapping[str, Mapping[str, float]]) -> str:
    """Rows of figures in percent with their intervals, the published rows below."""
    names = list(dict.fromkeys(name for row in rows.values() for name in row))
    width = max(map(len, [*rows, *published]), default=0)
    cells = max(15, *(len(name) for name in names)) if names else 15
    lines = [" " * width + "".join(f"  {name.replace('_', ' '):>{cells}}" for name in names)]
    for label, row in rows.items():
        lines.append(f"{label:<{width}}" + "".join(f"  {_cell(row.get(name)):>{cells}}" for name in names))
    for label, given in published.items():
        known = (f"{given[name]:.2f}" if name in given else "-" for name in names)
        lines.append(f"{label:<{width}}" + "".join(f"  {cell:>{cells}}" for cell in known))
    return "\n".join(lines)


def verdict(dataset: str, row: Row, complete: bool) -> str:
    """Whether the paper's first row is reproduced; "" where it has none."""
    if dataset not in PUBLISHED:
        return ""
    if not complete:
        return "Not the full set: the paper's row is for orientation only."
    label, given = next(iter(PUBLISHED[dataset].items()))
    off = {name: 100 * row[name].value - value for name, value in given.items() if name in row}
    missed = [f"{name.replace('_', ' ')} {gap:+.2f}" for name, gap in off.items() if abs(gap) > TOLERANCE[name]]
    return f"{label}: not reproduced ({', '.join(missed)})" if missed else f"{label}: reproduced"


def write_pictures(pictures: Sequence[Measured], path: Path) -> None:
    """Write one line per picture: its figures, and its counts where they are few."""
    rows = [
        {
            "id": picture.id,
            "word": picture.word,
            **{name: f"{value:.6g}" for name, value in picture.values.items()},
            **{
                f"{name}_{place}": int(round(float(value)))
                for name, counts in picture.counts.items()
                if counts.size <= 3
                for place, value in enumerate(counts)
            },
        }
        for picture in pictures
    ]
    text = io.StringIO()
    writer = csv.DictWriter(text, list(dict.fromkeys(name for row in rows for name in row)), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(text.getvalue(), path)


def as_json(row: Row) -> dict[str, dict[str, float | None]]:
    """Figures ready for JSON, 0-1; null where undefined."""
    return {
        name: {key: None if math.isnan(v) else v for key, v in vars(estimate).items()} for name, estimate in row.items()
    }


def draw_sweep(title: str, rows: Mapping[str, Row], path: Path) -> None:
    """Draw up to four figures of a sweep's rows, with their intervals, as lines over the rows; a PNG file."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    names = list(next(iter(rows.values())))[:4]
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    places = np.arange(len(rows))
    for name in names:
        values = np.array([100 * row[name].value for row in rows.values()])
        low = np.array([100 * row[name].low for row in rows.values()])
        high = np.array([100 * row[name].high for row in rows.values()])
        axes.plot(places, values, marker="o", label=name.replace("_", " "))
        axes.fill_between(places, low, high, alpha=0.15)
    axes.set_xticks(places, list(rows))
    axes.set_xlabel(title)
    axes.set_ylabel("percent, with 95 % interval")
    axes.grid(alpha=0.3)
    axes.legend()
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=150)


def hash_files(files: Iterable[Path]) -> str:
    """One SHA-256 over the contents of files in their order, first 16 digits; "" without files."""
    total, any_file = hashlib.sha256(), False
    for file in files:
        any_file = True
        with file.open("rb") as opened:
            while block := opened.read(1 << 20):
                total.update(block)
    return total.hexdigest()[:16] if any_file else ""


def _cell(estimate: Estimate | None) -> str:
    if estimate is None or math.isnan(estimate.value):
        return "-"
    half = 50 * (estimate.high - estimate.low)
    return f"{100 * estimate.value:.2f} ± {half:.2f}"
