"""Recordings in ComfyUI's input and output folders. Paths that lead out of these folders are refused."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import folder_paths

from ..concept_attention.concepts import is_reserved
from ..concept_attention.errors import UserError

SUFFIX = "recording.safetensors"  # tells recordings from models and latents; the command line writes it too
MOST_BYTES = 180  # of a name; the number, the suffix and a date filled in fit into the 255 that file systems take
INPUT, OUTPUT = " [input]", " [output]"  # ComfyUI's mark for the folder of a file name; no mark is input


class OutputFile(NamedTuple):
    """A file below the output folder: its path, and its name and subfolder as ComfyUI reports them."""

    path: Path
    filename: str
    subfolder: str

    @property
    def listed_name(self) -> str:
        """The name that `list_recordings` gives it."""
        return f"{self.subfolder}/{self.filename}".lstrip("/").replace(os.sep, "/") + OUTPUT


class OutputFolder(NamedTuple):
    """A folder below the output folder: its path, and its name as ComfyUI reports it."""

    path: Path
    subfolder: str


def next_output_file(prefix: str) -> OutputFile:
    """The next unused file of this name below the output folder.

    Args:
        prefix: name with or without subfolders, as in core's save nodes; `%year%` and the like are filled in. Both
            kinds of slash separate subfolders.

    Raises:
        UserError: if the prefix has no name, is no name on every system, or leads out of the output folder.
    """
    folder, name, counter, subfolder = _placed(prefix)
    filename = f"{name}_{counter:05}_.{SUFFIX}"
    return OutputFile(folder / filename, filename, subfolder)


def output_folder(name: str) -> OutputFolder:
    """A folder below the output folder, which may exist.

    Args:
        name: as the prefix in `next_output_file`.

    Raises:
        UserError: as `next_output_file`.
    """
    parent, own, _, subfolder = _placed(name)
    return OutputFolder(parent / own, f"{subfolder}/{own}".lstrip("/").replace(os.sep, "/"))


def list_recordings() -> list[str]:
    """The recordings in the input folder, then those in the output folder, marked and newest first."""
    inputs = sorted(name for _, name in _recordings_in(Path(folder_paths.get_input_directory())))
    outputs = sorted(_recordings_in(Path(folder_paths.get_output_directory())), reverse=True)
    return [*inputs, *(name + OUTPUT for _, name in outputs)]


def find_recording(name: str) -> Path:
    """The path of a recording named as in `list_recordings`.

    Raises:
        UserError: if the name leads out of its folder, is not a recording's, or there is no such file.
    """
    in_output = name.endswith(OUTPUT)
    bare = name.removesuffix(OUTPUT if in_output else INPUT)
    folder = Path(folder_paths.get_output_directory() if in_output else folder_paths.get_input_directory())
    where = "output" if in_output else "input"
    path = folder / bare
    if not bare.strip() or not is_inside(path, folder):
        raise UserError(f'"{name}" leads out of the {where} folder. Put the recording into that folder and choose it.')
    if not path.name.endswith(SUFFIX):
        raise UserError(f'"{name}" is not the name of a recording. Choose a file whose name ends in {SUFFIX}.')
    if not path.is_file():
        raise UserError(
            f'There is no recording "{bare}" in the {where} folder. Save one with Save Concept Recording, or put the '
            "file there and reload the page."
        )
    return path


def _placed(prefix: str) -> tuple[Path, str, int, str]:
    """Folder, name, number and subfolder of what a user names below the output folder, as core's save nodes do."""
    output = Path(folder_paths.get_output_directory())
    prefix = prefix.strip().replace("\\", "/")
    if prefix.endswith("/") or os.path.basename(os.path.normpath(prefix)) in (".", ".."):
        raise UserError(f'The filename prefix "{prefix}" has no name. Write one, such as recordings/landscape.')
    if not is_inside(output / prefix, output):
        raise UserError(f'The filename prefix "{prefix}" leads out of the output folder. Write a name below it.')
    if reason := _unreadable(prefix):
        raise UserError(f'The filename prefix "{prefix}" {reason}. Write another, such as recordings/landscape.')
    folder, name, counter, subfolder, _ = folder_paths.get_save_image_path(prefix, str(output))
    return Path(folder), name, counter, subfolder


def _unreadable(prefix: str) -> str:
    """Why a file of this prefix could not be read on every system, or would not be listed; "" if it could."""
    parts = [part for part in prefix.split("/") if part not in ("", ".", "..")]
    if parts[-1].startswith("."):
        return "begins with a dot, which hides the file"
    for part in parts:
        if not part.isprintable() or set(part) & set('<>:"|?*'):
            return "has characters that not every system allows in a name"
        if part.endswith((".", " ")) and part is not parts[-1]:
            return "has a folder whose name ends in a dot or a space"
        if is_reserved(part):
            return f"has the part {part}, which Windows keeps for a device"
        if len(part.encode()) > MOST_BYTES:
            return f"has a part longer than {MOST_BYTES} bytes"
    return ""


def is_inside(path: Path, folder: Path) -> bool:
    """Whether a path stays below the folder once all links are followed."""
    try:
        return path.resolve().is_relative_to(folder.resolve())
    except (OSError, ValueError, RuntimeError):  # a null byte, a circle of links
        return False


def _recordings_in(folder: Path) -> Iterator[tuple[int, str]]:
    """(time of change, name with forward slashes) of every recording below a folder. Linked folders are skipped."""
    for parent, _, files in os.walk(folder):
        for file in files:
            path = Path(parent) / file
            if file.endswith(SUFFIX) and not file.startswith(".") and is_inside(path, folder) and path.is_file():
                with contextlib.suppress(OSError):  # deleted meanwhile
                    yield path.stat().st_mtime_ns, path.relative_to(folder).as_posix()
