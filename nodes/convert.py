"""Conversions between ComfyUI's socket values and the library's arguments. No other module of the nodes converts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from comfy_api.latest import io, ui
from einops import rearrange
from torch import Tensor

from ..concept_attention.concepts import parse_concepts
from ..concept_attention.errors import UserError
from ..concept_attention.heatmaps.heatmaps import Heatmaps
from ..concept_attention.heatmaps.presence import ConceptPresence, find_present
from ..concept_attention.heatmaps.resize import repeat_frames, resize_maps
from ..concept_attention.hosts.comfyui.encoding.encode import encode_concepts
from ..concept_attention.hosts.comfyui.recording_cache import NothingRecorded
from ..concept_attention.hosts.encoded import EncodedConcepts
from ..concept_attention.labelling.graph import labelled_by_heatmaps, labelled_by_mask
from ..concept_attention.labelling.items import Labelled
from ..concept_attention.labelling.settings import MaskSettings
from ..concept_attention.recording.recording import Recording
from .named import to_wanted

_CUT_OFF = (
    " If latent frames were cut off before VAE Decode, as by Trim Video Latent, connect what is left of the LATENT to "
    "Collect Concept Recording."
)
NOTHING_CHOSEN = {"layers": "auto", "steps": "all", "mode": "auto", "temperature": 0.0}


def to_output_without_recording(missing: NothingRecorded, blocked: int = 1) -> io.NodeOutput:
    """What a sampler returned, and no recording: nodes that need one do not run, all others do.

    Args:
        blocked: number of outputs that are, or are made from, the recording.
    """
    return io.NodeOutput(*missing.outputs, *[missing.blocker] * blocked, ui=ui.PreviewText(str(missing)))


def to_concepts(concepts: EncodedConcepts | None, clip: Any, words: str, background: str) -> EncodedConcepts:
    """Encoded concepts: those connected, or the words written, encoded as Encode Concepts does by default.

    Raises:
        UserError: if there are both or neither, or if words come without a text encoder.
    """
    written = bool(words.strip() or background.strip())
    if concepts is not None:
        if written:
            raise UserError(
                "Encoded concepts are connected, and words are written as well. Remove the link, or empty `words` and "
                "`background`."
            )
        return concepts
    if not words.strip():
        raise UserError("Nothing to look for. Write it in `words` and connect `clip`, or connect Encode Concepts.")
    if clip is None:
        raise UserError("`words` need a text encoder. Connect `clip` to the CLIP that also reads the prompt.")
    return encode_concepts(clip, parse_concepts(words, background))


def drop_alpha(image: Tensor) -> Tensor:
    """The images of an IMAGE without an alpha channel, (B, H, W, 3).

    Raises:
        UserError: for another shape.
    """
    if image.ndim != 4 or image.shape[-1] < 3:
        raise UserError(
            f"An IMAGE has the shape (batch, height, width, 3 colours), got {tuple(image.shape)}. "
            "Connect an image output, not a mask."
        )
    return image[..., :3]


def to_image(drawn: Sequence[Tensor]) -> Tensor:
    """Images (H, W, 3) or batches of them (n, H, W, 3), all of one size, as one IMAGE."""
    batches = [image if image.ndim == 4 else rearrange(image, "h w c -> 1 h w c") for image in drawn]
    return torch.cat(batches)


def to_image_by_concept(drawn: Sequence[Tensor], videos: int) -> Tensor:
    """One batch (n, H, W, 3) per video frame, as one IMAGE with all frames of a video's first concept before its next.

    Args:
        drawn: for every frame of every video, one image per concept.
        videos: the number of videos.
    """
    return rearrange(torch.stack(list(drawn)), "(b f) n h w c -> (b n f) h w c", b=videos)


def to_mask(masks: Tensor) -> Tensor:
    """Masks (B, H, W), or (B, T, H, W) of videos, as one MASK; the frames of a video follow one another."""
    return rearrange(masks, "b t h w -> (b t) h w") if masks.ndim == 4 else masks


def to_region_mask(recording: Recording, name: str) -> Tensor:
    """The mask of a region in the image's size, as one MASK; that of all regions if `name` is empty.

    Raises:
        UserError: if the recording has no such region.
    """
    if recording.regions is None or recording.region_masks is None:
        raise UserError(
            "This recording has no region: nothing acted where a concept is while it was made, or the concept was not "
            "found. Connect the recording of a run with Prompt Where a Concept Is."
        )
    wanted = name.strip()
    if wanted and wanted not in recording.regions:
        raise UserError(f'There is no region "{wanted}". The regions are {", ".join(recording.regions)}.')
    chosen = [recording.regions.index(wanted)] if wanted else list(range(len(recording.regions)))
    mask = resize_maps(recording.region_masks[chosen].amax(dim=0), recording.image_size)
    if not recording.video:
        return mask[:, 0]
    tokens, frames = recording.grid[0], mask.shape[1]
    counts = recording.frame_counts
    if counts is not None and frames == tokens:
        mask = repeat_frames(mask, counts)
    return to_mask(mask)


def match_images(image: Tensor, heatmaps: Heatmaps) -> list[tuple[Tensor, int, int]]:
    """Pair every image of an IMAGE with its (batch index, latent frame) in the heatmaps.

    For videos the IMAGE holds either every frame or one image per latent frame.

    Raises:
        UserError: if the number of images is neither.
    """
    images = drop_alpha(image)
    latent_frames = heatmaps.values.shape[2] if heatmaps.video else 1
    every_frame = len(images) == heatmaps.batch * len(heatmaps.frames)
    frames = heatmaps.frames if every_frame else range(latent_frames)
    if len(images) != heatmaps.batch * len(frames):
        wanted = f"{heatmaps.batch} x {len(heatmaps.frames)} frames" if heatmaps.video else f"{heatmaps.batch} image(s)"
        raise UserError(
            f"Got {len(images)} image(s), but heatmaps of {wanted}. Connect the IMAGE that was sampled, or encoded, "
            "together with them." + (_CUT_OFF if heatmaps.video else "")
        )
    places = [(index, frame) for index in range(heatmaps.batch) for frame in frames]
    return [(one, *place) for one, place in zip(images, places, strict=True)]


def one_per_latent_frame(images: Tensor, heatmaps: Heatmaps) -> Tensor:
    """Of the frames of videos, (n, H, W, 3), the middle one of those that share a latent frame.

    Anything else than all frames of the videos is returned as it is.
    """
    latent_frame = torch.tensor(heatmaps.frames)
    if heatmaps.frame_counts is None or len(images) != heatmaps.batch * len(latent_frame):
        return images
    sharing = [torch.nonzero(latent_frame == index).flatten() for index in range(len(heatmaps.frame_counts))]
    middle = torch.stack([frames[len(frames) // 2] for frames in sharing])
    by_video = rearrange(images, "(b f) h w c -> b f h w c", b=heatmaps.batch)
    return rearrange(by_video[:, middle], "b t h w c -> (b t) h w c")


def to_source(
    recording: Recording | None,
    heatmaps: Heatmaps | None,
    layers: str,
    steps: str,
    mode: str,
    temperature: float,
) -> Recording | Heatmaps:
    """What a node shows: a recording, or finished heatmaps.

    Raises:
        UserError: if neither or both are connected, or if an option is set that finished heatmaps cannot follow.
    """
    if recording is not None and heatmaps is not None:
        raise UserError("Both a recording and heatmaps are connected. Connect one of them, not both.")
    if heatmaps is None:
        if recording is None:
            raise UserError("Nothing to show is connected. Connect a recording or heatmaps.")
        return recording
    chosen = {"layers": layers.strip().casefold(), "steps": steps.strip().casefold(), "mode": mode}
    for name, value in {**chosen, "temperature": temperature}.items():
        if value != NOTHING_CHOSEN[name]:
            raise UserError(
                f"`{name}` cannot be {value}: these heatmaps are finished. Set it back to {NOTHING_CHOSEN[name]}, or "
                "connect the recording instead of the heatmaps."
            )
    return heatmaps


def to_size(width: int, height: int, image_size: tuple[int, int]) -> tuple[int, int]:
    """(height, width) in pixels from a node's inputs.

    Args:
        width: in pixels; 0 keeps the aspect ratio.
        height: in pixels; 0 keeps the aspect ratio. If both are 0, the result is `image_size`.
        image_size: (height, width) of the image in pixels.
    """
    own_height, own_width = image_size
    if not width and not height:
        return image_size
    return (
        height or max(1, round(own_height * width / own_width)),
        width or max(1, round(own_width * height / own_height)),
    )


def to_presence(recording: Recording, wanted: str, threshold: float, layers: str, steps: str) -> list[ConceptPresence]:
    """Presence of the wanted concepts, in the order they were named; see `to_wanted` and `find_present`."""
    found = {one.name: one for one in find_present(recording, threshold, layers, steps)}
    return [found[name] for name in to_wanted(wanted, recording.concepts, recording.metadata.get("asked", ""))]


def to_labelled(
    image: Tensor, heatmaps: Heatmaps | None, mask: Tensor | None, settings: MaskSettings, caption: str
) -> list[Labelled]:
    """Every image of an IMAGE with the masks of its concepts, for a data set.

    Raises:
        UserError: if they do not belong together, or the heatmaps are not of kind share.
    """
    text = caption.strip()
    if heatmaps is not None:
        matched = match_images(image, heatmaps)
        return [labelled_by_heatmaps(one, heatmaps, index, frame, settings, text) for one, index, frame in matched]
    images, masks = drop_alpha(image), [] if mask is None else list(mask if mask.ndim == 3 else mask[None])
    if len(masks) not in (1, len(images)):
        raise UserError(
            f"Got {len(images)} image(s) and {len(masks)} mask(s). Connect one for each image, or one for all."
        )
    pairs = zip(images, masks if len(masks) > 1 else masks * len(images), strict=True)
    return [labelled_by_mask(one, own, settings.names[0], text) for one, own in pairs]
