"""What `generate`, `analyze` and `heatmaps` leave behind: pictures, the recording, a summary, and a report."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from ..colormaps import colorize
from ..concepts import slugs
from ..files import save_image, write_json
from ..heatmaps import Heatmaps, select_layers
from ..images import to_pil
from ..maps import resize_maps
from ..overlay import overlay_grid, overlay_segmentation
from ..recording import Recording
from ..recording_file import save_recording
from ..selection import parse_steps
from ..summary import summarise, summary_text
from .progress import Clock
from .reading import Reading

SUMMARY = "summary.json"
FILES = {
    "image": "image.png",
    "overlay": "overlay.png",
    "segmentation": "segmentation.png",
    "recording": "recording.safetensors",
}
_OWN_FILE = re.compile(r"(heatmap|mask)_[^/\\]*\.png")


@dataclass(frozen=True)
class Results:
    """What was written, and what is said about it.

    Attributes:
        folder: where.
        summary: what summary.json holds.
        table: the concepts' figures, for people.
    """

    folder: Path
    summary: dict[str, Any]
    table: str


def write_results(
    folder: Path,
    picture: Tensor,
    recording: Recording,
    reading: Reading,
    facts: Mapping[str, Any],
    clock: Clock,
    sources: Collection[Path] = (),
) -> Results:
    """Write every file; the summary, which describes the others, comes last.

    Args:
        folder: an existing folder; files of the same names are replaced, and heatmaps and masks of an earlier run
            that have no successor are removed.
        picture: (H, W, 3) float, 0-1, the recording's picture.
        recording: of this one picture.
        reading: what to make of it.
        facts: of the run, for the summary.
        clock: its times go into the summary.
        sources: files the run has read; one that lies where a result would go is left as it is.
    """
    shares = reading.heatmaps(recording, "share")
    drawn = shares if reading.kind == "share" else reading.heatmaps(recording, reading.kind)
    earlier = _earlier_files(folder)
    (folder / SUMMARY).unlink(missing_ok=True)  # it would describe files that are being replaced

    full = shares.resized()  # once for all: this is what takes time with large pictures
    files = _write_concepts(folder, full, drawn, reading)
    overlay = overlay_grid(picture, drawn, colormap=reading.colormap, opacity=reading.opacity)
    save_image(to_pil(overlay), folder / FILES["overlay"])
    save_image(to_pil(overlay_segmentation(picture, full, opacity=reading.opacity)), folder / FILES["segmentation"])
    if not _is_among(folder / FILES["image"], sources):
        save_image(to_pil(picture), folder / FILES["image"])
    if not _is_among(folder / FILES["recording"], sources):
        save_recording(recording, folder / FILES["recording"])
    for name in earlier - {name for pair in files for name in pair.values()}:
        (folder / name).unlink(missing_ok=True)
    clock.lap("write")

    figures = summarise(shares)
    concepts = [
        {**one.as_dict(), "text": concept.text, "files": pair}
        for one, concept, pair in zip(figures, recording.concepts, files, strict=True)
    ]
    summary = {**facts, **_describe(recording, reading), "concepts": concepts, "files": FILES}
    summary["seconds"] = clock.seconds
    write_json(summary, folder / SUMMARY)
    return Results(folder, summary, summary_text(figures))


def show(results: Results, title: str, as_json: bool, note: str = "") -> None:
    """Say on stdout what was found and where it lies.

    Args:
        results: what was written.
        title: one line on what was done.
        as_json: print the summary and nothing else.
        note: a line to end with, if any.
    """
    if as_json:
        print(json.dumps(results.summary, indent=2))  # ASCII only: it survives every pipe and terminal
        return
    count = len(results.summary["concepts"])
    files = (
        (FILES["image"], "the picture"),
        (FILES["overlay"], "the heatmaps over the picture, side by side"),
        (FILES["segmentation"], "which concept wins where"),
        ("heatmap_*.png", f"{count}, one per concept ({results.summary['settings']['kind']})"),
        ("mask_*.png", f"{count}, one per concept ({results.summary['settings']['mask']})"),
        (FILES["recording"], "all scores, for `concept-attention heatmaps`"),
        (SUMMARY, "these figures and all settings"),
    )
    width = max(len(name) for name, _ in files)
    lines = [title, "", results.table, "", f"Wrote to {results.folder}:"]
    lines += [f"  {name:<{width}}  {what}" for name, what in files]
    print("\n".join([*lines, "", textwrap.fill(note, 100)] if note else lines))


def _write_concepts(folder: Path, shares: Heatmaps, drawn: Heatmaps, reading: Reading) -> list[dict[str, str]]:
    """Heatmap and mask of every concept, from shares at the picture's size; the names of the files."""
    drawn = shares if drawn.kind == "share" else drawn
    maps = drawn.values[0]
    low, high = (float(maps.min()), float(maps.max())) if drawn.kind == "score" else (0.0, 1.0)
    names = slugs([concept.name for concept in shares.concepts])
    files = [{"heatmap": f"heatmap_{slug}.png", "mask": f"mask_{slug}.png"} for slug in names]
    for concept, values, pair in zip(shares.concepts, maps, files, strict=True):
        colours = colorize(resize_maps(values, drawn.image_size, drawn.visible), reading.colormap, low, high)
        save_image(to_pil(colours), folder / pair["heatmap"])
        save_image(to_pil(reading.mask_of(shares, concept.name)), folder / pair["mask"])
    return files


def _describe(recording: Recording, reading: Reading) -> dict[str, Any]:
    """The recording's side of the summary; `layers` and `steps` are what the heatmaps are made of."""
    positions = parse_steps(reading.steps, len(recording.steps))
    return {
        "width": recording.image_size[1],
        "height": recording.image_size[0],
        "grid": recording.grid,
        "architecture": recording.architecture,
        "mode": recording.mode if reading.mode == "auto" else reading.mode,
        "layers": select_layers(recording, reading.layers),
        "steps": [recording.steps[position] for position in positions],
        "sigmas": [recording.sigmas[position] for position in positions],
        "recorded": {
            "layers": recording.layers,
            "layer_count": recording.layer_count,
            "steps": recording.steps,
            "sigmas": recording.sigmas,
            "averaged": recording.averaged,
        },
    }


def _is_among(path: Path, files: Collection[Path]) -> bool:
    return path.exists() and any(path.samefile(file) for file in files)


def _earlier_files(folder: Path) -> set[str]:
    """Heatmaps and masks that the summary of an earlier run in this folder lists."""
    try:
        listed = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))["concepts"]
        names = {str(name) for concept in listed for name in concept["files"].values()}
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return set()  # there was none, or it is not ours
    return {name for name in names if _OWN_FILE.fullmatch(name)}
