"""Settings of a recording: the configuration that a patched MODEL carries, checked when it is made."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from ....choices import KEEPS, Keep, check_choice
from ....drawing.preview import check_preview
from ....errors import UserError
from ....scores import resolve_mode
from ....selection import check_layers
from ...collector import Collector
from ..adapters.registry import adapter_for
from .early_stop import StopRule

if TYPE_CHECKING:
    from comfy.model_base import BaseModel

    from ...encoded import EncodedConcepts

_ROUNDING = 1e-6  # of a step: 0.3 * 10 is a little more than 3


@dataclass(frozen=True, eq=False)
class Settings:
    """What to record. Configuration only: no state of a run is stored here.

    Attributes:
        encoded: the concepts, encoded with the model's own text encoder.
        layers: joint blocks to record, see `parse_layers`.
        start_percent, end_percent: share of the sampler's steps (0-1) that is recorded; nothing is computed in the
            other steps. A step counts if any part of it lies in the range.
        mode: fidelity mode, a key of `scores.MODES`, or `auto`.
        dtype: of the recorded scores, float32 or float16.
        live_preview: what the host's preview shows of every recorded step: the name of a concept or `segmentation`; or,
            of every step, `regions`, where something acts; or nothing if it is empty. The recording does not depend on
            it.
        keep: every recorded step, or only the running mean over them.
        stop: when the run ends early; None is never.

    Raises:
        UserError: if there are no concepts, layers cannot be read, the range selects no step, there is no such mode,
            dtype, preview or keep, or a run that may end early cannot know when.
    """

    encoded: EncodedConcepts
    layers: str = "all"
    start_percent: float = 0.0
    end_percent: float = 1.0
    mode: str = "auto"
    dtype: torch.dtype = torch.float32
    live_preview: str = ""
    keep: Keep = "every step"
    stop: StopRule | None = None

    def __post_init__(self) -> None:
        if not self.encoded.concepts:
            raise UserError("There are no concepts to record. Name at least one.")
        check_layers(self.layers)
        if not 0 <= self.start_percent < self.end_percent <= 1:
            raise UserError(
                f"The range {self.start_percent:g} to {self.end_percent:g} selects no step. "
                "Choose a start from 0 and an end up to 1 that is greater than the start."
            )
        resolve_mode(self.mode, "")
        check_choice("keep", self.keep, KEEPS)
        if self.dtype not in (torch.float32, torch.float16):
            raise UserError(f"Scores are recorded in float32 or float16, got {self.dtype}. Choose one of these.")
        if self.live_preview:
            check_preview(self.live_preview, self.encoded.concepts)
        if self.stop is not None:
            self.stop.check(self.encoded)

    def check(self, model: BaseModel) -> Collector:
        """Check the settings against a live model, before anything is sampled.

        Returns:
            The collector of a run with this model.

        Raises:
            UserError: if the model is not supported, has no such layers, takes other text embeddings, or is read in a
                way that does not say what is absent where that is to end the run.
        """
        collector = Collector(self.encoded, adapter_for(model).describe(model), self.layers, self.mode)
        if self.stop is not None:
            self.stop.check_reading(collector.reading)
        return collector

    def records(self, step: int, steps: int) -> bool:
        """Whether a 0-based step of a run with `steps` steps is recorded."""
        # Samplers with a step size of their own may take more steps than planned: the end has no upper bound then.
        before_end = self.end_percent == 1 or step + _ROUNDING < self.end_percent * steps
        return before_end and step + 1 > self.start_percent * steps + _ROUNDING

    def fingerprint(self) -> str:
        """SHA-256 of all that the recording depends on; the same in every process."""
        parts = (
            self.encoded.fingerprint(),
            self.layers,
            f"{self.start_percent:.6f}",
            f"{self.end_percent:.6f}",
            self.mode,
            str(self.dtype),
            self.keep,
            *([] if self.stop is None else [repr(self.stop)]),
        )
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()
