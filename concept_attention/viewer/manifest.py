"""The data of the viewer in the browser: images and maps as files, and a manifest that describes them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from ..errors import UserError
from ..heatmaps.resize import latent_frame_indices
from ..images import check_aspect, to_pil
from .folder import ViewerFolder
from .maps import StoredMaps, ViewerMaps


def write_view(maps: ViewerMaps, images: Tensor, folder: ViewerFolder, address: Mapping[str, str]) -> dict[str, Any]:
    """Write the files that a viewer reads.

    Args:
        maps: of a recording or of heatmaps.
        images: the images they belong to, (n, H, W, 3), float, 0-1; for videos, video by video, one per video frame or
            one per T.
        folder: where the files go; older ones may be removed from it.
        address: what a browser needs beside a file's name to fetch it.

    Returns:
        The manifest, ready for JSON.

    Raises:
        UserError: if the images do not belong to the maps.
    """
    frames = _latent_frames(images, maps)
    height, width = images.shape[1:3]
    entries, written = [], set()
    for index in range(maps.batch):
        stored = maps.of_image(index)
        entry: dict[str, Any] = {"frames": [], "values": {"filename": _put_values(stored, folder), **address}}
        for frame, latent_frame in enumerate(frames):
            name = _put_image(images[index * len(frames) + frame], folder)
            entry["frames"].append({"filename": name, **address, "width": width, "height": height, "t": latent_frame})
        entry |= {"dtype": "uint16", "offset": stored.offset, "scale": stored.scale, "shape": [*stored.stored.shape]}
        written |= {entry["values"]["filename"], *(each["filename"] for each in entry["frames"])}
        if maps.region_masks is not None:
            masks = maps.region_masks[:, index]
            entry["regions"] = {"filename": _put_regions(masks, folder), **address, "shape": [*masks.shape]}
            written.add(entry["regions"]["filename"])
        entries.append(entry)
    folder.tidy(written)
    return {**_describe(maps), "pictures": entries}


def _latent_frames(images: Tensor, maps: ViewerMaps) -> tuple[int, ...]:
    """The T of every frame of each video; (0,) for an image."""
    one_each = (1,) * maps.grid[0]
    counts = maps.frame_counts or one_each
    for found in (latent_frame_indices(counts), latent_frame_indices(one_each)):
        if images.shape[0] == maps.batch * len(found):
            check_aspect((images.shape[1], images.shape[2]), maps.image_size)
            return found
    what = f"{maps.batch} x {sum(counts)} frames" if sum(counts) > 1 else f"{maps.batch} image(s)"
    raise UserError(
        f"Got {images.shape[0]} image(s), but heatmaps of {what}. Connect the IMAGE that was sampled, or encoded, "
        "together with them."
    )


def _put_values(maps: StoredMaps, folder: ViewerFolder) -> str:
    return _put_bytes(maps.stored.tobytes(), folder)


def _put_regions(masks: Tensor, folder: ViewerFolder) -> str:
    """Masks (R, T, H, W), 0-1, as bytes, 0-255."""
    return _put_bytes((masks * 255).round().byte().numpy().tobytes(), folder)


def _put_bytes(content: bytes, folder: ViewerFolder) -> str:
    return folder.put(content, ".bin", lambda path: path.write_bytes(content))


def _put_image(image: Tensor, folder: ViewerFolder) -> str:
    pixels = to_pil(image)

    def write(path: Path) -> None:
        pixels.save(path, compress_level=1)  # read once, on this machine: fast matters more than small

    return folder.put(b"%d %d " % pixels.size + pixels.tobytes(), ".png", write)


def _describe(maps: ViewerMaps) -> dict[str, Any]:
    """The manifest except for the images."""
    return _as_lists(
        {
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
            "reduced": maps.reduced,
            "regions": maps.regions,
        }
    )


def _as_lists(content: Any) -> Any:
    """The same with lists for tuples, as JSON returns it."""
    if isinstance(content, dict):
        return {key: _as_lists(value) for key, value in content.items()}
    return [_as_lists(item) for item in content] if isinstance(content, list | tuple) else content
