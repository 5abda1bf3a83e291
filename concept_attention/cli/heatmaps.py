"""`concept-attention heatmaps`: other heatmaps and masks from a recording, without running the model again."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from ..images import frame_times, load_frames, load_image
from ..recording.file import load_recording
from ..recording.recording import Recording
from .folder import prepared_folder
from .options import heatmap_options
from .output import FILES, FRAME_RATE, VIDEO_FILES, show, write_results
from .progress import Clock


def run(arguments: Namespace) -> None:
    """Do what the command line says; a ValueError says what is wrong with it."""
    reading = replace(heatmap_options(arguments), mode=arguments.mode)
    clock = Clock()
    recording = load_recording(arguments.recording)
    name = VIDEO_FILES["video"] if recording.video else FILES["image"]
    path = arguments.image or arguments.recording.parent / name
    pictures = _load_pictures(path, recording)
    rate = 1 / min(frame_times(path)) if recording.video and path.is_file() else FRAME_RATE
    reading.mask_of(reading.heatmaps(recording, "share"), recording.concepts[0].name)
    clock.lap("load")
    with prepared_folder(arguments.out) as folder:
        facts = {
            "command": "heatmaps",
            "recording": str(arguments.recording),
            "picture": str(path),
            **{name: recording.metadata.get(name, "") for name in ("prompt", "seed", "model")},
            "versions": recording.metadata.get("versions", ""),
            "settings": reading.as_dict(),
        }
        sources = [path, arguments.recording]
        results = write_results(folder, pictures, recording, reading, facts, clock, sources, rate)
    show(results, f"Read {arguments.recording}.", arguments.json)


def _load_pictures(path: Path, recording: Recording) -> list[Tensor]:
    """The recording's picture, or the frames of its video, (H, W, 3) float, 0-1 each."""
    what = "video" if recording.video else "picture"
    if recording.batch != 1:
        raise ValueError(
            f"The recording is of {recording.batch} {what}s, expected one of a single {what}. Read it in Python."
        )
    if not path.exists():
        raise ValueError(f"There is no {what} {path}. Name the recording's {what} with --image.")
    pictures = load_frames(path) if recording.video else [load_image(path)]
    (height, width), frames = recording.image_size, sum(recording.frame_counts or [1] * recording.grid[0])
    found = [f"{size[1]} x {size[0]}" for size in sorted({one.shape[:2] for one in pictures})]
    if found != [f"{width} x {height}"]:
        raise ValueError(
            f"{path} is {' and '.join(found)} pixels, the recording is of a {what} of {width} x {height}. "
            "Name the right one with --image."
        )
    if len(pictures) != frames:
        raise ValueError(
            f"{path} has {len(pictures)} frames, the recording is of a video of {frames}. "
            "Name the right one with --image."
        )
    return pictures
