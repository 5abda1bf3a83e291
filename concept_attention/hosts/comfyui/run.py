"""One sampling run with concepts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor

if TYPE_CHECKING:
    from ...recording import Recording
    from .settings import Settings

KEY = "concept_attention"


@dataclass(frozen=True, eq=False)
class RunResult:
    """What a run recorded.

    Attributes:
        recording: None if no step delivered anything.
        reason: why there is none, one or two sentences; "" if there is one.
        denoised: the last x0 that the sampler's callback saw, as it saw it; None if it was never called.
    """

    recording: Recording | None
    reason: str
    denoised: Tensor | None


def record(
    executor: Any, args: Sequence[Any], kwargs: Mapping[str, Any], settings: Settings, *, stop: bool = False
) -> tuple[Tensor, RunResult]:
    """Sample as usual, and record the concepts meanwhile: the body of an OUTER_SAMPLE wrapper.

    Args:
        executor: as the wrapper gets it; its `class_obj` is the guider.
        args, kwargs: as the wrapper gets them.
        settings: what to record.
        stop: end each forward pass after the last kept joint block; what is sampled is meaningless then.

    Returns:
        What the sampler returned, untouched, and what was recorded.

    Raises:
        ValueError: if the model cannot be recorded with these settings, or the run is being recorded already.
    """
    raise NotImplementedError
