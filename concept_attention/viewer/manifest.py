"""What the viewer in a browser is given: pictures and maps as files, and a manifest that says what they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from ..heatmaps.resize import frame_places
from ..images import check_aspect, to_pil
from .folder import ViewerFolder
from .maps import StoredMaps, ViewerMaps

VERSION = 1


class Choice(NamedTuple):
    """What a run used.

    Attributes:
        concepts: names of the concepts masked.
        layers: indices of the model's layers; empty for heatmaps.
        steps: positions among the recorded steps; empty for heatmaps.
        method, threshold, percentile: as of `make_masks`.
    """

    concepts: Sequence[str]
    layers: Sequence[int]
    steps: Sequence[int]
    method: str
    threshold: float
    percentile: float


def write_view(
    maps: ViewerMaps, image: Tensor, choice: Choice, folder: ViewerFolder, address: Mapping[str, str]
) -> dict[str, Any]:
    """Write what a viewer reads.

    Args:
        maps: what can be looked at.
        image: the pictures they belong to, (n, H, W, 3), float, 0-1; of videos the frames of one after the other, or
            one picture for every T.
        choice: what this run used.
        folder: where the files go; older ones may be removed from it.
        address: what a browser says beside a file's name to get it.

    Returns:
        The manifest, ready for JSON.

    Raises:
        ValueError: if the pictures do not belong to the maps.
    """
    frames = _frames_each(image, maps)
    pictures, written = [], set()
    for index in range(maps.batch):
        stored = maps.of_picture(index)
        entry: dict[str, Any] = {"frames": [], "values": {"filename": _put_values(stored, folder), **address}}
        for frame, place in enumerate(frames):
            name = _put_picture(image[index * len(frames) + frame], folder)
            size = {"width": image.shape[2], "height": image.shape[1]}
            entry["frames"].append({"filename": name, **address, **size, "t": place})
        entry |= {"dtype": "uint16", "offset": stored.offset, "scale": stored.scale, "shape": [*stored.stored.shape]}
        pictures.append(entry)
        written |= {entry["values"]["filename"], *(each["filename"] for each in entry["frames"])}
    folder.tidy(written)
    return {**_describe(maps), "choice": _as_lists(choice._asdict()), "pictures": pictures}


def _frames_each(image: Tensor, maps: ViewerMaps) -> tuple[int, ...]:
    """The T that every frame of each video belongs to; one 0 for pictures."""
    one_each = (1,) * maps.grid[0]
    counts = maps.frame_counts or one_each
    for places in (frame_places(counts), frame_places(one_each)):
        if image.shape[0] == maps.batch * len(places):
            check_aspect((image.shape[1], image.shape[2]), maps.image_size)
            return places
    what = f"{maps.batch} x {sum(counts)} frames" if sum(counts) > 1 else f"{maps.batch} pictures"
    raise ValueError(
        f"There are {image.shape[0]} pictures, but heatmaps of {what}. Connect the IMAGE that was sampled, or "
        "encoded, together with them."
    )


def _put_values(maps: StoredMaps, folder: ViewerFolder) -> str:
    content = maps.stored.tobytes()
    return folder.put(content, ".bin", lambda path: path.write_bytes(content))


def _put_picture(picture: Tensor, folder: ViewerFolder) -> str:
    image = to_pil(picture)

    def write(path: Path) -> None:
        image.save(path, compress_level=1)  # it is read once, here: quickly written is better than small

    return folder.put(b"%d %d " % image.size + image.tobytes(), ".png", write)


def _describe(maps: ViewerMaps) -> dict[str, Any]:
    """The manifest, but for pictures and choice."""
    return _as_lists(
        {
            "version": VERSION,
            "concepts": [{"name": concept.name, "role": concept.role} for concept in maps.concepts],
            "kind": maps.kind,
            "average": maps.average,
            "temperature": maps.temperature,
            "layers": [group[0] for group in maps.layer_groups],
            "layer_groups": maps.layer_groups,
            "default_layers": maps.default_layers,
            "steps": [maps.steps[group[0]] for group in maps.step_groups],
            "step_groups": maps.step_groups,
            "sigmas": [maps.sigmas[group[0]] for group in maps.step_groups],
            "grid": maps.grid,
            "visible": maps.visible,
            "image_size": maps.image_size,
            "reduced": _reduced(maps),
        }
    )


def _reduced(maps: ViewerMaps) -> str:
    """What was averaged, and why; "" if nothing was."""
    if maps.averaged:
        return "This recording keeps only the mean over its steps."
    steps = [[maps.steps[index] for index in group] for group in maps.step_groups]
    joined = [
        f"{what} {', '.join(_span(group) for group in groups)}"
        for what, groups in (("steps", steps), ("layers", maps.layer_groups))
        if any(len(group) > 1 for group in groups)
    ]
    return f"Averaged to be small enough for a browser: {' and '.join(joined)}." if joined else ""


def _span(group: Sequence[int]) -> str:
    return f"{group[0]}" if len(group) == 1 else f"{group[0]}-{group[-1]}"


def _as_lists(content: Any) -> Any:
    """The same with lists for tuples, as JSON gives it back."""
    if isinstance(content, dict):
        return {key: _as_lists(value) for key, value in content.items()}
    return [_as_lists(item) for item in content] if isinstance(content, list | tuple) else content
