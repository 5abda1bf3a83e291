"""Recordings in ComfyUI's own folders: where they go, which there are, and no way out of these folders."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import folder_paths

SUFFIX = "recording.safetensors"  # how recordings are told from models and latents; the command line's name as well
INPUT, OUTPUT = " [input]", " [output]"  # how ComfyUI marks the folder of a name; input where there is no mark


class Place(NamedTuple):
    """Where a file is written, in ComfyUI's words for it."""

    path: Path
    filename: str
    subfolder: str


def next_place(prefix: str) -> Place:
    """Where the next recording of this name goes, below the output folder.

    Args:
        prefix: name with or without subfolders, as in core's save nodes; `%year%` and the like are filled in.

    Raises:
        ValueError: if it has no name, or leads out of the output folder.
    """
    output = Path(folder_paths.get_output_directory())
    prefix = prefix.strip()
    if prefix.endswith(("/", "\\")) or os.path.basename(os.path.normpath(prefix)) in (".", ".."):
        raise ValueError(f'The filename prefix "{prefix}" has no name. Write one, such as recordings/landscape.')
    if not _is_inside(output / prefix, output):
        raise ValueError(f'The filename prefix "{prefix}" leads out of the output folder. Write a name below it.')
    folder, name, counter, subfolder, _ = folder_paths.get_save_image_path(prefix, str(output))
    filename = f"{name}_{counter:05}_.{SUFFIX}"
    return Place(Path(folder) / filename, filename, subfolder)


def name_of(place: Place) -> str:
    """The name of an output file in the list of recordings."""
    return f"{place.subfolder}/{place.filename}".lstrip("/").replace(os.sep, "/") + OUTPUT


def list_recordings() -> list[str]:
    """The recordings in the input folder, then, newest first and marked, those in the output folder."""
    inputs = sorted(name for _, name in _found(Path(folder_paths.get_input_directory())))
    outputs = sorted(_found(Path(folder_paths.get_output_directory())), reverse=True)
    return [*inputs, *(name + OUTPUT for _, name in outputs)]


def find_recording(name: str) -> Path:
    """The file that a name of `list_recordings` stands for.

    Raises:
        ValueError: if the name leads out of its folder, is none of a recording, or there is no such file.
    """
    in_output = name.endswith(OUTPUT)
    bare = name.removesuffix(OUTPUT if in_output else INPUT)
    folder = Path(folder_paths.get_output_directory() if in_output else folder_paths.get_input_directory())
    where = "output" if in_output else "input"
    path = folder / bare
    if not bare.strip() or not _is_inside(path, folder):
        raise ValueError(f'"{name}" leads out of the {where} folder. Put the recording into it and choose it there.')
    if not path.name.endswith(SUFFIX):
        raise ValueError(f'"{name}" is not the name of a recording: those end in {SUFFIX}.')
    if not path.is_file():
        raise ValueError(
            f'There is no recording "{bare}" in the {where} folder. Save one with Save Concept Recording, or put the '
            "file there and reload the page."
        )
    return path


def _is_inside(path: Path, folder: Path) -> bool:
    """Whether a path, with every link in it followed, stays below the folder."""
    try:
        return path.resolve().is_relative_to(folder.resolve())
    except (OSError, ValueError, RuntimeError):  # a null byte, a circle of links
        return False


def _found(folder: Path) -> Iterator[tuple[int, str]]:
    """Time of change and name, with forward slashes, of the recordings below a folder; no linked folder is entered."""
    for parent, _, files in os.walk(folder):
        for file in files:
            path = Path(parent) / file
            if file.endswith(SUFFIX) and not file.startswith(".") and _is_inside(path, folder) and path.is_file():
                with contextlib.suppress(OSError):  # deleted meanwhile
                    yield path.stat().st_mtime_ns, path.relative_to(folder).as_posix()
