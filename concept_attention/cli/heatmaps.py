"""`concept-attention heatmaps`: heatmaps and masks from a recording, without the model."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from ..choices import VIDEO_KINDS
from ..embedded import EMBEDDED, TAUGHT
from ..errors import UserError
from ..images import frame_times, load_frames, load_image
from ..recording.file import load_recording
from ..recording.recording import Recording
from .folder import prepared_folder
from .options import heatmap_options
from .output import FILES, FRAME_RATE, print_report, video_files, write_results
from .progress import Clock


def run(arguments: Namespace) -> None:
    """Run the command; raises `UserError` for arguments that cannot be used."""
    options = replace(heatmap_options(arguments), mode=arguments.mode)
    clock = Clock()
    file = _recording_file(arguments.recording)
    recording = load_recording(file)
    path = arguments.image or _recorded_image(file.parent, recording.video)
    images = _load_images(path, recording)
    rate = 1 / min(frame_times(path)) if recording.video and path.is_file() else FRAME_RATE
    # Errors should come before the folder is created.
    options.mask_of(options.heatmaps(recording, "share"), recording.concepts[0].name)
    clock.lap("load")
    with prepared_folder(arguments.out) as folder:
        facts = {
            "command": "heatmaps",
            "recording": str(file),
            "picture": str(path),
            **{name: recording.metadata.get(name, "") for name in ("prompt", "seed", "model")},
            "versions": recording.metadata.get("versions", ""),
            "note": TAUGHT if recording.metadata.get("model") in EMBEDDED else "",
            "settings": options.as_dict(),
        }
        sources = [path, file]
        results = write_results(
            folder, images, recording, options, facts, clock, sources, rate, arguments.quiet, arguments.video
        )
    print_report(results, f"Read {file}.", arguments.json)


def _recording_file(path: Path) -> Path:
    """The recording, which may be given by the folder it is in."""
    if not path.is_dir():
        return path
    file = path / FILES["recording"]
    if not file.exists():
        raise UserError(
            f"{path} has no {file.name}. Give a recording, or a folder that `generate` or `analyze` has written."
        )
    return file


def _recorded_image(folder: Path, video: bool) -> Path:
    """The recorded image or video, as `generate` and `analyze` write it beside the recording."""
    names = [video_files(kind)["video"] for kind in VIDEO_KINDS] if video else [FILES["image"]]
    return next((folder / name for name in names if (folder / name).exists()), folder / names[0])


def _load_images(path: Path, recording: Recording) -> list[Tensor]:
    """The recorded image or the frames of the recorded video, each (H, W, 3) float, 0-1."""
    what = "video" if recording.video else "image"
    if recording.batch != 1:
        raise UserError(f"The recording holds {recording.batch} {what}s, expected 1. Use the Python API for batches.")
    if not path.exists():
        raise UserError(f"There is no {what} {path}. Give the recording's {what} with --image.")
    images = load_frames(path) if recording.video else [load_image(path)]
    (height, width), frames = recording.image_size, sum(recording.frame_counts or [1] * recording.grid[0])
    found = " and ".join(f"{size[1]} x {size[0]}" for size in sorted({image.shape[:2] for image in images}))
    mismatch = ""
    if found != f"{width} x {height}":
        mismatch = f"is {found} pixels, but the recorded {what} is {width} x {height}"
    elif len(images) != frames:
        mismatch = f"has {len(images)} frames, but the recorded video has {frames}"
    if mismatch:
        raise UserError(f"{path} {mismatch}. Give the recording's {what} with --image.")
    return images
