"""Some of a video's latent frames, cut out of its recording."""

from __future__ import annotations

from dataclasses import replace

from ..errors import UserError
from .half import StoredScores
from .recording import Recording


def cut_frames(recording: Recording, start: int, count: int, latent_frames: int) -> Recording:
    """The recording of a video without the latent frames before and behind a part of it.

    A decoder takes the first latent frame that it gets for the beginning of a video, so the part's frames stand for as
    many video frames as those of a video of its length.

    Args:
        recording: of a video, or of an image, which has one latent frame.
        start: the part's first latent frame, from 0.
        count: how many there are.
        latent_frames: of the latent that the recording was made of.

    Raises:
        UserError: if several latent frames share a token.
    """
    tokens, rows, columns = recording.grid
    if tokens != latent_frames:
        raise UserError(
            f"{latent_frames} latent frames share {tokens} frames of tokens in this model, so a recording cannot lose "
            "some of them. Connect the LATENT from the sampler itself."
        )
    each = rows * columns
    part = slice(start * each, (start + count) * each)
    stored = {name: getattr(recording, name) for name in StoredScores._fields}
    kept = {name: one if one is None or name == "norms" else one[..., part].clone() for name, one in stored.items()}
    masks = recording.region_masks
    return replace(
        recording,
        **kept,
        grid=(count, rows, columns),
        frame_counts=None if recording.frame_counts is None else recording.frame_counts[:count],
        region_masks=None if masks is None else masks[:, :, start : start + count].clone(),
    )
