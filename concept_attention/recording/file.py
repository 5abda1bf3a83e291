"""Recording files: one safetensors file each, described by JSON text in its header; never pickle."""

from __future__ import annotations

import json
import math
import stat
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from ..concepts import Concept
from ..errors import UserError
from ..files import atomic_write
from .checks import check_extent
from .recording import Recording

_FORMAT = "concept-attention-recording"
_VERSION = 1
_MAX_HEADER = 2**24  # bytes; names and prompts take thousands
_TENSORS = ("scores", "norms", "pad_scores", "offsets", "region_masks")
# Omitted where unset, so that files stay readable by older versions, which refuse fields they do not know.
_OPTIONAL = ("covered_size", "frame_counts", "averaged", "regions")
_DESCRIPTION = tuple(field.name for field in fields(Recording) if field.name not in (*_TENSORS, *_OPTIONAL))


def save_recording(recording: Recording, path: str | Path) -> Path:
    """Write a recording to one safetensors file, complete or not at all.

    Args:
        recording: what to write.
        path: the file; an existing one is replaced.

    Returns:
        The path.

    Raises:
        UserError: if names and metadata are too long for the header, or the file cannot be written.

    >>> from tempfile import TemporaryDirectory
    >>> from concept_attention.recording.example import example_recording
    >>> with TemporaryDirectory() as folder:
    ...     path = save_recording(example_recording(), f"{folder}/house.safetensors")
    ...     print(path.name, load_recording(path).grid)
    house.safetensors (1, 4, 6)
    """
    description = {name: getattr(recording, name) for name in _DESCRIPTION}
    description |= {name: value for name in _OPTIONAL if (value := getattr(recording, name)) is not None}
    description["concepts"] = [asdict(concept) for concept in recording.concepts]
    header = {
        "format": _FORMAT,
        "version": str(_VERSION),
        "reading": recording.reading,
        "recording": json.dumps(description),
    }
    if len(json.dumps(header)) > _MAX_HEADER // 2:
        raise UserError(f"Names and metadata take more than {_MAX_HEADER // 2} bytes. Shorten the metadata.")
    path = Path(path)
    tensors = {name: getattr(recording, name) for name in _TENSORS}
    with atomic_write(path) as temporary:
        temporary.touch()
        usual = temporary.stat().st_mode
        try:
            save_file(
                {name: tensor.contiguous() for name, tensor in tensors.items() if tensor is not None},
                temporary,
                metadata=header,
            )
        except SafetensorError as error:
            reason = " ".join(str(error).split())[:300].rstrip(".")
            raise UserError(f"Cannot write {path}: {reason}. Make room, or choose another folder.") from error
        temporary.chmod(usual)  # safetensors makes files that only their owner can read
    return path


def load_recording(path: str | Path) -> Recording:
    """Read a recording that `save_recording` wrote.

    Nothing in the file is trusted: sizes are compared with the file's own before memory is taken, and every
    field with every other. The recording does not depend on the file afterwards.

    Args:
        path: the file.

    Returns:
        The recording.

    Raises:
        UserError: if the file is cut short, damaged, of another or a newer format, or contradicts itself.
        OSError: if it cannot be opened.

    >>> from tempfile import TemporaryDirectory
    >>> from concept_attention.recording.example import example_recording
    >>> with TemporaryDirectory() as folder:
    ...     recording = load_recording(save_recording(example_recording(), f"{folder}/house.safetensors"))
    >>> [concept.name for concept in recording.concepts]
    ['sky', 'house', 'grass']
    """
    path = Path(path)
    try:
        _check_header_length(path)
        with safe_open(path, framework="pt") as file:  # compares the declared sizes with the file's
            description = _parse_description(file.metadata() or {})
            _check_shapes(file)
            recording = Recording(**description, **_read_tensors(file))
            _check_reading(recording, (file.metadata() or {}).get("reading", "concept"))
        check_extent(recording)
        return recording
    except (SafetensorError, TypeError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())[:300]
        raise UserError(f"{path} is not a recording that can be read: {reason}") from error


def _check_header_length(path: Path) -> None:
    if stat.S_ISFIFO((status := path.stat()).st_mode):  # opening it would wait for a writer
        raise ValueError("it is a pipe, expected a file.")
    size = status.st_size
    with path.open("rb") as file:
        header = int.from_bytes(file.read(8), "little")
    if size < 8 or header > min(size - 8, _MAX_HEADER):
        raise ValueError(f"its {size} bytes are cut short, or of another format.")


def _parse_description(header: Mapping[str, str]) -> dict[str, Any]:
    """The recording's fields other than tensors, as the header claims them."""
    if header.get("format") != _FORMAT:
        raise ValueError(f'its format is "{header.get("format", "unknown")}", expected "{_FORMAT}".')
    version = header.get("version", "")
    if version != str(_VERSION):
        raise ValueError(
            f'its format version is "{version}", this program reads "{_VERSION}". '
            "If it is newer, update ConceptAttention."
        )
    description = json.loads(header.get("recording", "null"))
    if not isinstance(description, dict) or set(description) - set(_OPTIONAL) != set(_DESCRIPTION):
        raise ValueError(f"its description must have exactly the fields {', '.join(_DESCRIPTION)}.")
    if any(description.get(name, "absent") is None for name in _OPTIONAL):
        raise ValueError(f"its description must omit unset fields among {', '.join(_OPTIONAL)}.")
    description["concepts"] = [Concept(**concept) for concept in description["concepts"]]
    return description


def _check_reading(recording: Recording, claimed: str) -> None:
    """The header's own entry is for other programs; files from before there were several readings have none."""
    if claimed != recording.reading:
        raise ValueError(f'its reading is "{claimed}", but mode {recording.mode} reads "{recording.reading}".')


def _check_shapes(file: Any) -> None:
    """Check what the header declares before torch sees it: torch cannot count the elements of every shape."""
    names = set(file.keys())
    if not {"scores", "norms"} <= names <= set(_TENSORS):
        raise ValueError(f"it must hold scores, norms and perhaps {', '.join(_TENSORS[2:])}, got {sorted(names)}.")
    for name in names:
        declared = file.get_slice(name)
        if (dtype := declared.get_dtype()) not in ("F32", "F16"):
            raise ValueError(f"{name} must be F32 or F16, got {dtype}.")
        if not 0 < math.prod(declared.get_shape()) < 2**48:  # more than any file holds
            raise ValueError(f"{name} cannot have the shape {declared.get_shape()}.")


def _read_tensors(file: Any) -> dict[str, Any]:
    # Copies: a tensor that is mapped from the file would change, or crash, with it.
    return {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118  # it is no mapping
