"""Share rules: how scores become shares, what is averaged over steps and layers, and what that mean becomes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import UserError
from ..scores import MODES, Mode, resolve_mode
from .recording import Recording

TEMPERATURES = (1e-6, 1e9)  # least and greatest: beyond them float32 has no use for the scores


@dataclass(frozen=True)
class ShareRule:
    """A rule that turns scores into shares.

    Attributes:
        mode: the published variant it follows.
        temperature: divides scores before the softmax over concepts.
        pad_count: how many equal pad tokens compete with the concepts.

    Convention: scores are (..., C, N), their norms (..., C), pad scores (..., N).
    """

    mode: Mode
    temperature: float
    pad_count: int = 0

    @property
    def averages_scores(self) -> bool:
        """Whether the mean is one of scores, which become shares afterwards; else it is one of shares."""
        return self.mode.order == "mean_then_softmax"

    def scores(self, scores: Tensor, norms: Tensor) -> Tensor:
        """The mode's scores, (..., C, N), float32."""
        scores = scores.float()
        if self.mode.vectors != "l2":
            return scores
        smallest = torch.finfo(torch.float32).tiny  # a zero vector scores zero
        return scores / norms[..., None].clamp_min(smallest)

    def values(self, scores: Tensor, norms: Tensor, pads: Tensor | None = None) -> Tensor:
        """What is averaged over steps and layers, (..., C, N), float32."""
        scores = self.scores(scores, norms)
        if self.averages_scores:
            return scores
        if not self.mode.padded_tokens or pads is None or self.pad_count == 0:
            return softmax(scores, self.temperature)
        # so many equal tokens compete: count * exp(pad / t) = exp((pad + t log count) / t)
        pads = pads.float() + self.temperature * math.log(self.pad_count)
        return softmax(torch.cat([scores, pads[..., None, :]], dim=-2), self.temperature)[..., :-1, :]

    def shares(self, mean: Tensor) -> Tensor:
        """Shares, (..., C, N), of a mean of `values`."""
        return softmax(mean, self.temperature) if self.averages_scores else mean


def own_rule(mode: Mode, pad_count: int = 0) -> ShareRule:
    """The share rule of a mode at its own temperature, where there are so many pad tokens."""
    return ShareRule(mode, mode.temperature, pad_count if mode.padded_tokens else 0)


def share_rule(recording: Recording, mode: str = "auto", temperature: float | None = None) -> ShareRule:
    """The share rule of a recording.

    Args:
        recording: what the rule will be applied to.
        mode: a key of `MODES`; "auto" is the mode the recording was made for.
        temperature: 1e-6 to 1e9; None is the mode's own.

    Raises:
        UserError: for an unknown mode, a mode whose scores the recording lacks, a temperature out of range, or a mode
            or temperature that a recording of the mean over steps cannot be read with.
    """
    recorded = MODES[recording.mode]
    wanted = recorded if mode == "auto" else resolve_mode(mode, recording.architecture)
    if wanted.reading != recorded.reading:
        raise UserError(
            f"Mode {wanted.name} reads {wanted.reading}, and this recording holds the reading {recorded.reading}. "
            f"Use mode=auto, or record again with mode={wanted.name}."
        )
    lacks_vectors = (wanted.vectors == "linear") != (recorded.vectors == "linear")
    lacks_pads = wanted.padded_tokens > len(recording.concepts) and recording.pad_scores is None
    if lacks_vectors or lacks_pads:
        raise UserError(
            f"Mode {wanted.name} cannot be read from a recording made for mode {recorded.name}: "
            f"it lacks the scores that mode needs. Record again with mode={wanted.name}."
        )
    temperature = wanted.temperature if temperature is None else temperature
    least, greatest = TEMPERATURES
    if not least <= temperature <= greatest:
        raise UserError(
            f"Temperature must lie in {least:g} to {greatest:g}, got {temperature}. The modes use 1 or 1000."
        )
    other_shares = recording.averaged == "share" and temperature != recorded.temperature
    needs_steps = {f"mode {wanted.name}": wanted != recorded, f"temperature {temperature:g}": other_shares}
    check_mean_suffices(recording, needs_steps)
    return ShareRule(wanted, temperature, recording.pad_count)


def check_mean_suffices(recording: Recording, needs_steps: Mapping[str, bool]) -> None:
    """Check that a recording which may keep only the mean over its steps can answer a request.

    Args:
        recording: any.
        needs_steps: by each part of the request, in words, whether it needs more than the mean.

    Raises:
        UserError: if one does, and the recording keeps only the mean.
    """
    if recording.averaged is None:
        return
    mode = MODES[recording.mode]
    shares = f"shares in mode {mode.name} at temperature {mode.temperature:g}"
    mean = shares if recording.averaged == "share" else "scores"
    for what in (what for what, needed in needs_steps.items() if needed):
        raise UserError(
            f"This recording keeps only the mean of its {mean} over all steps; {what} cannot be computed from it. "
            "Leave it at its default, or record again with keep=every step."
        )


def softmax(scores: Tensor, temperature: float) -> Tensor:
    """Softmax over concepts, (..., C, N); the highest is subtracted before a small temperature can overflow."""
    return torch.softmax((scores - scores.amax(dim=-2, keepdim=True)) / temperature, dim=-2)
