"""What `generate`, `analyze` and `heatmaps` leave behind: pictures, the recording, a summary, and a report."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from ..concepts import slugs
from ..drawing.colormaps import colorize
from ..drawing.overlay import overlay_grid, overlay_segmentation
from ..files import save_animation, save_image, write_json
from ..heatmaps.heatmaps import Heatmaps, select_layers
from ..heatmaps.resize import resize_maps
from ..heatmaps.summary import summarise, summary_text
from ..images import to_pil
from ..recording.file import save_recording
from ..recording.recording import Recording
from ..selection import parse_steps
from .options import HeatmapOptions
from .progress import Clock

SUMMARY = "summary.json"
FRAME_RATE = 8.0  # frames per second where nothing says otherwise
FILES = {
    "image": "image.png",
    "overlay": "overlay.png",
    "segmentation": "segmentation.png",
    "recording": "recording.safetensors",
}
VIDEO_FILES = {
    "video": "video.gif",
    "overlay": "overlay.gif",
    "segmentation": "segmentation.gif",
    "recording": "recording.safetensors",
}
_OWN_FILE = re.compile(r"((heatmap|mask)_[^/\\]*|image|video|overlay|segmentation)\.(png|gif)")


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
    pictures: Sequence[Tensor],
    recording: Recording,
    reading: HeatmapOptions,
    facts: Mapping[str, Any],
    clock: Clock,
    sources: Collection[Path] = (),
    frame_rate: float = FRAME_RATE,
) -> Results:
    """Write every file; the summary, which describes the others, comes last.

    Args:
        folder: an existing folder; files of the same names are replaced, and pictures of an earlier run that have no
            successor are removed.
        pictures: (H, W, 3) float, 0-1 each: the recording's picture, or the frames of its video.
        recording: of this one picture or video.
        reading: what to make of it.
        facts: of the run, for the summary.
        clock: its times go into the summary.
        sources: files the run has read; one that lies where a result would go is left as it is.
        frame_rate: frames per second of a video.
    """
    shares = reading.heatmaps(recording, "share")
    drawn = shares if reading.kind == "share" else reading.heatmaps(recording, reading.kind)
    earlier = _earlier_files(folder)
    (folder / SUMMARY).unlink(missing_ok=True)  # it would describe files that are being replaced

    full = shares.resized()  # once for all: this is what takes time with large pictures
    names = VIDEO_FILES if recording.video else FILES
    files = _write_concepts(folder, full, drawn, reading, frame_rate)
    _write_overlays(folder, pictures, full, drawn, reading, names, frame_rate)
    picture_name = names["video" if recording.video else "image"]
    if not _is_among(folder / picture_name, sources):
        _save(pictures, folder / picture_name, frame_rate)
    if not _is_among(folder / names["recording"], sources):
        save_recording(recording, folder / names["recording"])
    written = {*names.values(), *(name for pair in files for name in pair.values())}
    for name in earlier - written:
        if not _is_among(folder / name, sources):
            (folder / name).unlink(missing_ok=True)
    clock.lap("write")

    figures = summarise(shares)
    concepts = [
        {**one.as_dict(), "text": concept.text, "files": pair}
        for one, concept, pair in zip(figures, recording.concepts, files, strict=True)
    ]
    summary = {**facts, **_describe(recording, reading), "concepts": concepts, "files": names}
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
    names, what = results.summary["files"], "video" if "video" in results.summary["files"] else "picture"
    suffix = Path(names["overlay"]).suffix
    files = (
        (names["video" if what == "video" else "image"], f"the {what}"),
        (names["overlay"], f"the heatmaps over the {what}, side by side"),
        (names["segmentation"], "which concept wins where"),
        (f"heatmap_*{suffix}", f"{count}, one per concept ({results.summary['settings']['kind']})"),
        (f"mask_*{suffix}", f"{count}, one per concept ({results.summary['settings']['mask']})"),
        (names["recording"], "all scores, for `concept-attention heatmaps`"),
        (SUMMARY, "these figures and all settings"),
    )
    width = max(len(name) for name, _ in files)
    lines = [title, "", results.table, "", f"Wrote to {results.folder}:"]
    lines += [f"  {name:<{width}}  {meaning}" for name, meaning in files]
    print("\n".join([*lines, "", textwrap.fill(note, 100)] if note else lines))


def _write_overlays(
    folder: Path,
    pictures: Sequence[Tensor],
    shares: Heatmaps,
    drawn: Heatmaps,
    reading: HeatmapOptions,
    names: Mapping[str, str],
    frame_rate: float,
) -> None:
    """The heatmaps side by side over the picture, and which concept wins where; of a video for every frame."""
    frames = list(zip(pictures, shares.frames, strict=True))
    look: dict[str, Any] = {"opacity": reading.opacity}
    overlays = (overlay_grid(one, drawn, frame=place, colormap=reading.colormap, **look) for one, place in frames)
    _save(overlays, folder / names["overlay"], frame_rate)
    segmentations = (overlay_segmentation(one, shares, frame=place, **look) for one, place in frames)
    _save(segmentations, folder / names["segmentation"], frame_rate)


def _write_concepts(
    folder: Path, shares: Heatmaps, drawn: Heatmaps, reading: HeatmapOptions, frame_rate: float
) -> list[dict[str, str]]:
    """Heatmap and mask of every concept, from shares at the picture's size; the names of the files."""
    drawn = shares if drawn.kind == "share" else drawn
    maps = drawn.values[0]  # (C, H, W), or (C, T, H, W)
    low, high = (float(maps.min()), float(maps.max())) if drawn.kind == "score" else (0.0, 1.0)
    suffix = ".gif" if shares.video else ".png"
    names = slugs([concept.name for concept in shares.concepts])
    files = [{"heatmap": f"heatmap_{slug}{suffix}", "mask": f"mask_{slug}{suffix}"} for slug in names]
    for concept, values, pair in zip(shares.concepts, maps, files, strict=True):
        sized = resize_maps(values, drawn.image_size, drawn.visible)
        mask = reading.mask_of(shares, concept.name)
        planes = (sized, mask) if shares.video else (sized[None], mask[None])
        colours = [colorize(plane, reading.colormap, low, high) for plane in planes[0]]
        _save([colours[place] for place in shares.frames], folder / pair["heatmap"], frame_rate)
        _save([planes[1][place] for place in shares.frames], folder / pair["mask"], frame_rate)
    return files


def _save(pictures: Iterable[Tensor], path: Path, frame_rate: float) -> None:
    """A picture, or several as an animation, as the path's suffix says."""
    images = [to_pil(one) for one in pictures]
    if path.suffix == ".gif":
        save_animation(images, path, frame_rate)
    else:
        save_image(images[0], path)


def _describe(recording: Recording, reading: HeatmapOptions) -> dict[str, Any]:
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
    """Pictures that the summary of an earlier run in this folder lists."""
    try:
        listed = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))
        names = {str(name) for concept in listed["concepts"] for name in concept["files"].values()}
        names |= {str(name) for name in listed["files"].values()}
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return set()  # there was none, or it is not ours
    return {name for name in names if _OWN_FILE.fullmatch(name)}
