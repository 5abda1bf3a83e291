"""Digests of latents, by which the recording of the run that made one is found again."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import comfy.model_management
import torch
from torch import Tensor


def digest(samples: Any) -> str:
    """Hash of a latent's content, the same before and after the host moves it.

    KSampler moves a latent to the host's intermediate device and dtype after the patched model's run has ended;
    SamplerCustomAdvanced leaves the dtype alone. Both get the same digest.

    Args:
        samples: a LATENT's `samples`: a tensor of any shape and dtype, or a nested one.
    """
    return _hash([_moved(part) for part in (samples.unbind() if _is_nested(samples) else (samples,))])


def frame_digests(samples: Any) -> tuple[str, ...]:
    """Hash of every latent frame of a video, (B, C, T, H, W); () for an image.

    Args:
        samples: see `digest`; of a nested one the first is the video, and the sound is left out.
    """
    video = _first(samples)
    return tuple(_hash([frame]) for frame in _moved(video).unbind(2)) if video.ndim == 5 else ()


def latent_frames(samples: Any, start: int, count: int) -> Tensor:
    """Some latent frames of a video, without what was sampled with it."""
    return _first(samples)[:, :, start : start + count]


def find_part(part: Sequence[str], whole: Sequence[str]) -> int | None:
    """Where latent frames follow one another in a video: index of the first; None if they do not.

    >>> find_part("bc", "abcd"), find_part("bd", "abcd"), find_part("", "abcd")
    (1, None, None)
    """
    starts = range(len(whole) - len(part) + 1) if part else ()
    return next((start for start in starts if tuple(whole[start : start + len(part)]) == tuple(part)), None)


def _is_nested(samples: Any) -> bool:
    return bool(getattr(samples, "is_nested", False))


def _first(samples: Any) -> Tensor:
    return samples.unbind()[0] if _is_nested(samples) else samples


def _moved(part: Tensor) -> Tensor:
    return part.detach().to("cpu", comfy.model_management.intermediate_dtype())


def _hash(parts: Sequence[Tensor]) -> str:
    content = hashlib.sha256()
    for part in parts:
        content.update(repr(tuple(part.shape)).encode())
        content.update(part.contiguous().flatten().view(torch.uint8).numpy().data)
    return content.hexdigest()
