"""`concept-attention heatmaps`: other heatmaps and masks from a recording, without running the model again."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from ..images import load_image
from ..recording import Recording
from ..recording_file import load_recording
from .folder import prepared_folder
from .output import FILES, show, write_results
from .progress import Clock
from .reading import read_options


def run(arguments: Namespace) -> None:
    """Do what the command line says; a ValueError says what is wrong with it."""
    reading = replace(read_options(arguments), mode=arguments.mode)
    clock = Clock()
    recording = load_recording(arguments.recording)
    path = arguments.image or arguments.recording.parent / FILES["image"]
    picture = _load_picture(path, recording)
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
        results = write_results(folder, [picture], recording, reading, facts, clock, sources)
    show(results, f"Read {arguments.recording}.", arguments.json)


def _load_picture(path: Path, recording: Recording) -> Tensor:
    """The recording's picture, (H, W, 3) float, 0-1."""
    if recording.batch != 1 or recording.video:
        what = "a video" if recording.video else f"{recording.batch} pictures"
        raise ValueError(f"The recording is of {what}, expected one of a single picture. Read it in Python.")
    if not path.exists():
        raise ValueError(f"There is no picture {path}. Name the recording's picture with --image.")
    picture = load_image(path)
    size, expected = (picture.shape[0], picture.shape[1]), recording.image_size
    if size != expected:
        raise ValueError(
            f"{path} is {size[1]} x {size[0]} pixels, the recording is of a picture of {expected[1]} x {expected[0]}. "
            "Name the right one with --image."
        )
    return picture
