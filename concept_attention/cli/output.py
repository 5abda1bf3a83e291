"""The results of `generate`, `analyze` and `heatmaps`: images, the recording, a summary, and a report on stdout."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from ..concepts import slugs
from ..drawing.colormaps import colorize
from ..drawing.overlay import overlay_grid, overlay_segmentation
from ..files import save_animation, save_image, write_json
from ..heatmaps.heatmaps import Heatmaps, select_layers
from ..heatmaps.presence import find_present
from ..heatmaps.resize import resize_maps
from ..heatmaps.summary import summarise, summary_text
from ..images import to_pil
from ..recording.file import save_recording
from ..recording.recording import Recording
from ..selection import parse_steps
from .options import HeatmapOptions
from .progress import Clock, progress_bar

SUMMARY = "summary.json"
FRAME_RATE = 8.0  # frames per second of a video whose rate is unknown
FILES = {
    "image": "image.png",
    "overlay": "overlay.png",
    "segmentation": "segmentation.png",
    "recording": "recording.safetensors",
}
_OWN_FILE = re.compile(r"((heatmap|mask)_[^/\\]*|image|video|overlay|segmentation)\.(png|gif|mp4|mov)")


def video_files(kind: str) -> dict[str, str]:
    """The files of a video, of a kind in `VIDEO_KINDS`."""
    return {
        "video": f"video.{kind}",
        "overlay": f"overlay.{kind}",
        "segmentation": f"segmentation.{kind}",
        "recording": FILES["recording"],
    }


@dataclass(frozen=True)
class Results:
    """The results that were written.

    Attributes:
        folder: where they are.
        summary: the content of summary.json.
        table: statistics of the concepts, as text.
    """

    folder: Path
    summary: dict[str, Any]
    table: str


def write_results(
    folder: Path,
    images: Sequence[Tensor],
    recording: Recording,
    options: HeatmapOptions,
    facts: Mapping[str, Any],
    clock: Clock,
    sources: Collection[Path] = (),
    frame_rate: float = FRAME_RATE,
    quiet: bool = False,
    video_kind: str = "gif",
) -> Results:
    """Write all files; the summary, which describes the others, comes last.

    Args:
        folder: an existing folder; files of the same names are replaced, and other images of an earlier run are
            removed.
        images: the recorded image or the frames of the recorded video, each (H, W, 3) float, 0-1.
        recording: of one image or video.
        options: of the heatmaps and masks.
        facts: about the run, for the summary.
        clock: durations, for the summary.
        sources: files that the run has read; they are never overwritten or removed.
        frame_rate: frames per second of a video.
        quiet: without a progress bar.
        video_kind: of the files of a video, one of `VIDEO_KINDS`. Masks are GIFs: these keep every value.
    """
    shares = options.heatmaps(recording, "share")
    drawn = shares if options.kind == "share" else options.heatmaps(recording, options.kind)
    earlier = _earlier_files(folder)
    (folder / SUMMARY).unlink(missing_ok=True)  # outdated as soon as a file is replaced

    names = video_files(video_kind) if recording.video else FILES
    count = 2 * len(shares.concepts) + len(names) - 1  # all but the recording
    with progress_bar("Writing", "file", count, quiet) as on_file:
        save = _Saver(frame_rate, on_file)
        full = shares.resized()  # only once: slow for large images
        files = _write_concepts(folder, full, drawn, options, save, Path(names["overlay"]).suffix)
        _write_overlays(folder, images, full, drawn, options, names, save)
        image_name = names["video" if recording.video else "image"]
        if not _is_among(folder / image_name, sources):
            save(images, folder / image_name)
        if not _is_among(folder / names["recording"], sources):
            save_recording(recording, folder / names["recording"])
    written = {*names.values(), *(name for pair in files for name in pair.values())}
    for name in earlier - written:
        if not _is_among(folder / name, sources):
            (folder / name).unlink(missing_ok=True)
    clock.lap("write")

    present = None if recording.presence is None else find_present(options.heatmaps(recording, "presence"))
    statistics = summarise(shares, present)
    concepts = [
        {**statistic.as_dict(), "text": concept.text, "files": pair}
        for statistic, concept, pair in zip(statistics, recording.concepts, files, strict=True)
    ]
    summary = {**facts, **_describe(recording, options), "concepts": concepts, "files": names}
    summary["seconds"] = clock.seconds
    write_json(summary, folder / SUMMARY)
    return Results(folder, summary, summary_text(statistics))


def print_report(results: Results, title: str, as_json: bool) -> None:
    """Print the concepts' statistics, the written files and the summary's note on stdout.

    Args:
        results: to report.
        title: first line.
        as_json: print the summary instead.
    """
    if as_json:
        print(json.dumps(results.summary, indent=2))  # ASCII only: safe for every pipe and terminal
        return
    count = len(results.summary["concepts"])
    names, what = results.summary["files"], "video" if "video" in results.summary["files"] else "image"
    suffix = Path(names["overlay"]).suffix
    files = (
        (names[what], f"the {what}"),
        (names["overlay"], f"the heatmaps over the {what}, side by side"),
        (names["segmentation"], "the concept with the highest share at each pixel"),
        (f"heatmap_*{suffix}", f"{count}, one per concept ({results.summary['settings']['kind']})"),
        (
            f"mask_*{'.png' if suffix == '.png' else '.gif'}",
            f"{count}, one per concept ({results.summary['settings']['mask']})",
        ),
        (names["recording"], "all scores, for `concept-attention heatmaps`"),
        (SUMMARY, "these statistics and all settings"),
    )
    width = max(len(name) for name, _ in files)
    lines = [title, "", results.table, "", f"Wrote to {results.folder}:"]
    lines += [f"  {name:<{width}}  {meaning}" for name, meaning in files]
    note = results.summary["note"]
    print("\n".join([*lines, "", textwrap.fill(note, 100)] if note else lines))


def _write_overlays(
    folder: Path,
    images: Sequence[Tensor],
    shares: Heatmaps,
    drawn: Heatmaps,
    options: HeatmapOptions,
    names: Mapping[str, str],
    save: _Saver,
) -> None:
    """Write the heatmaps over the image, side by side, and the segmentation; for a video, of every frame."""
    frames = list(zip(images, shares.frames, strict=True))
    opacity = options.opacity
    look: dict[str, Any] = {"colormap": options.colormap, "opacity": opacity, "blend": options.blend}
    look["device"] = options.device
    overlays = (overlay_grid(image, drawn, frame=t, **look) for image, t in frames)
    save(overlays, folder / names["overlay"])
    segmentations = (
        overlay_segmentation(image, shares, frame=t, opacity=opacity, device=options.device) for image, t in frames
    )
    save(segmentations, folder / names["segmentation"])


def _write_concepts(
    folder: Path, shares: Heatmaps, drawn: Heatmaps, options: HeatmapOptions, save: _Saver, suffix: str
) -> list[dict[str, str]]:
    """Write heatmap and mask of every concept, from shares at the image's size; return the file names.

    Where presence is drawn, masks are made of it, too.
    """
    measured = drawn.resized() if drawn.kind == "presence" else shares
    drawn = shares if drawn.kind == "share" else drawn
    maps = drawn.values[0]  # (C, H, W), or (C, T, H, W)
    low, high = (float(maps.min()), float(maps.max())) if drawn.kind == "score" else (0.0, 1.0)
    names = slugs([concept.name for concept in shares.concepts])
    exact = ".gif" if shares.video else suffix
    files = [{"heatmap": f"heatmap_{slug}{suffix}", "mask": f"mask_{slug}{exact}"} for slug in names]
    for concept, values, pair in zip(shares.concepts, maps, files, strict=True):
        heatmap = resize_maps(values, drawn.image_size, drawn.visible)
        mask = options.mask_of(measured, concept.name)
        if not shares.video:
            heatmap, mask = heatmap[None], mask[None]
        colours = (colorize(heatmap[t], options.colormap, low, high) for t in shares.frames)
        save(colours, folder / pair["heatmap"])
        save((mask[t] for t in shares.frames), folder / pair["mask"])
    return files


class _Saver:
    """Writes one image if the path's suffix is `.png`, else an animation, and tells how many files there are so far."""

    def __init__(self, frame_rate: float, on_file: Callable[[int, int], None]) -> None:
        self._frame_rate, self._on_file = frame_rate, on_file
        self._done = 0

    def __call__(self, images: Iterable[Tensor], path: Path) -> None:
        converted = [to_pil(image) for image in images]
        if path.suffix == ".png":
            save_image(converted[0], path)
        else:
            save_animation(converted, path, self._frame_rate)
        self._done += 1
        self._on_file(self._done, self._done)


def _describe(recording: Recording, options: HeatmapOptions) -> dict[str, Any]:
    """The recording's part of the summary; `layers` and `steps` are those that the heatmaps average."""
    positions = parse_steps(options.steps, len(recording.steps))
    return {
        "width": recording.image_size[1],
        "height": recording.image_size[0],
        "grid": recording.grid,
        "architecture": recording.architecture,
        "reading": recording.reading,
        "mode": recording.mode if options.mode == "auto" else options.mode,
        "layers": select_layers(recording, options.layers),
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
    """Names of the images that the summary of an earlier run in this folder lists."""
    try:
        listed = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))
        names = {str(name) for concept in listed["concepts"] for name in concept["files"].values()}
        names |= {str(name) for name in listed["files"].values()}
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return set()  # no summary, or not one of ours
    return {name for name in names if _OWN_FILE.fullmatch(name)}
