"""Between what travels on ComfyUI's wires and what the library takes: nowhere else."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from einops import rearrange
from torch import Tensor

from ..concept_attention.concepts import Concept, concept_index, parse_concepts
from ..concept_attention.heatmaps.heatmaps import Heatmaps
from ..concept_attention.recording.recording import Recording

AS_MADE = ("auto", "all", "auto", 0.0)  # layers, steps, mode and temperature where nothing is chosen


def to_pictures(image: Tensor) -> Tensor:
    """An IMAGE as pictures, (B, H, W, 3); alpha, where there is one, is left out.

    Raises:
        ValueError: for another shape.
    """
    if image.ndim != 4 or image.shape[-1] < 3:
        raise ValueError(f"An IMAGE is (batch, height, width, 3 colours), got {tuple(image.shape)}.")
    return image[..., :3]


def to_image(pictures: Sequence[Tensor]) -> Tensor:
    """Pictures (H, W, 3) or batches of them (n, H, W, 3), all of one size, as one IMAGE."""
    batches = [picture if picture.ndim == 4 else rearrange(picture, "h w c -> 1 h w c") for picture in pictures]
    return torch.cat(batches)


def to_images(drawn: Sequence[Tensor], videos: int) -> Tensor:
    """Batches (n, H, W, 3) that were drawn of the frames of videos, each video n times, one after the other."""
    return rearrange(torch.stack(list(drawn)), "(b f) n h w c -> (b n f) h w c", b=videos)


def to_mask(masks: Tensor) -> Tensor:
    """Masks (B, H, W) as a MASK; the frames of videos, (B, T, H, W), one after another."""
    return rearrange(masks, "b t h w -> (b t) h w") if masks.ndim == 4 else masks


def match_pictures(image: Tensor, maps: Heatmaps) -> list[tuple[Tensor, int, int]]:
    """Every picture of an IMAGE with the (picture, frame) of the heatmaps that belongs to it.

    Of a video there is a picture for each of its frames, or for each latent frame.

    Raises:
        ValueError: if there is not one picture for each.
    """
    pictures = to_pictures(image)
    latent = maps.values.shape[2] if maps.video else 1
    frames = maps.frames if len(pictures) == maps.batch * len(maps.frames) else range(latent)
    if len(pictures) != maps.batch * len(frames):
        what = f"{maps.batch} x {len(maps.frames)} frames" if maps.video else f"{maps.batch} pictures"
        raise ValueError(
            f"There are {len(pictures)} pictures, but heatmaps of {what}. Connect the IMAGE that was sampled, or "
            "encoded, together with them."
        )
    places = [(index, frame) for index in range(maps.batch) for frame in frames]
    return [(picture, *place) for picture, place in zip(pictures, places, strict=True)]


def latent_pictures(pictures: Tensor, maps: Heatmaps) -> Tensor:
    """Of all frames of videos, (n, H, W, 3), the middle one of those that share a latent frame; other pictures stay."""
    places = torch.tensor(maps.frames)
    if maps.frame_counts is None or len(pictures) != maps.batch * len(places):
        return pictures
    sharing = [torch.nonzero(places == latent).flatten() for latent in range(len(maps.frame_counts))]
    middle = torch.stack([frames[len(frames) // 2] for frames in sharing])
    by_video = rearrange(pictures, "(b f) h w c -> b f h w c", b=maps.batch)
    return rearrange(by_video[:, middle], "b t h w c -> (b t) h w c")


def to_source(
    recorded: Recording | None,
    maps: Heatmaps | None,
    layers: str,
    steps: str,
    mode: str,
    temperature: float,
) -> Recording | Heatmaps:
    """What to look at: a recording, or heatmaps, for which nothing can be chosen any more.

    Raises:
        ValueError: if there is neither or both, or something is chosen that finished heatmaps cannot follow.
    """
    if recorded is not None and maps is not None:
        raise ValueError("There are a recording and heatmaps to look at. Connect one of them, not both.")
    if maps is None:
        if recorded is None:
            raise ValueError("There is nothing to look at. Connect a recording, or heatmaps.")
        return recorded
    chosen = layers.strip().casefold(), steps.strip().casefold(), mode, temperature
    for name, value, default in zip(("layers", "steps", "mode", "temperature"), chosen, AS_MADE, strict=True):
        if value != default:
            raise ValueError(
                f"These heatmaps are finished: `{name}` cannot be {value} any more. Set it back to {default}, or "
                "connect the recording in place of the heatmaps."
            )
    return maps


def to_names(text: str, available: Sequence[Concept]) -> list[str]:
    """Names as users write them, comma-separated or one per line; the first that there is if nothing is written.

    Raises:
        ValueError: if a name occurs twice or is not available; the message lists those that are.
    """
    if not text.strip():
        return [available[0].name]
    written = [concept.name for concept in parse_concepts(text)]
    return [available[concept_index(available, name)].name for name in written]


def to_name(text: str, available: Sequence[Concept]) -> str:
    """One name, as `to_names` reads it.

    Raises:
        ValueError: as `to_names`, and for more than one.
    """
    names = to_names(text, available)
    if len(names) > 1:
        raise ValueError(f"Only one concept can be drawn here, got {', '.join(names)}. Use one node for each.")
    return names[0]


def to_size(width: int, height: int, image_size: tuple[int, int]) -> tuple[int, int]:
    """(height, width) in pixels; 0 is the picture's own, or what keeps its aspect if only the other is given."""
    own_height, own_width = image_size
    if not width and not height:
        return image_size
    return (
        height or max(1, round(own_height * width / own_width)),
        width or max(1, round(own_width * height / own_height)),
    )
