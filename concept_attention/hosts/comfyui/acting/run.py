"""What acts within one run, put together from its parts: regions with prompts, LoRAs, strengths."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from comfy.patcher_extension import WrappersMP
from torch import Tensor

from ....concepts import Concept
from ....errors import UserError
from ...encoded import EncodedConcepts
from ..engine.geometry import RunGeometry
from ..engine.prompts import UnknownRegion, covered_indices, latent_size
from .place import LatentSize, LiveMask

Wrappers = Sequence[tuple[str, Callable[..., Any]]]


@dataclass(eq=False)
class RunState:
    """What the parts of one run share.

    Attributes:
        steps: of the run.
        step: the one that is being sampled, 0-based.
        size: of the latent that is evaluated; None before the first evaluation.
        masks: of all places, by name.
        has_regions: whether a part acts for all regions with prompts already.
        unchanged: see `ActingRun`.
    """

    steps: int
    step: int = 0
    size: LatentSize | None = None
    masks: dict[str, LiveMask] = field(default_factory=dict)
    has_regions: bool = False
    unchanged: Tensor | None = None

    def add(self, name: str, mask: LiveMask) -> LiveMask:
        """Add the mask of a place; the second of a name gets a number."""
        number = next(n for n in range(1, len(self.masks) + 2) if _numbered(name, n) not in self.masks)
        self.masks[_numbered(name, number)] = mask
        return mask

    def part_of(self, mask: Tensor, x: Tensor, window: Any) -> Tensor:
        """The part of a mask (B, T, H, W) that belongs to a latent: all of it, or that of a context window.

        Raises:
            UserError: if it is not known where the latent lies.
        """
        if self.size is None or (window is None and latent_size(x) == self.size):
            return mask
        try:
            axes = covered_indices(x, self.size, window)
        except UnknownRegion as unknown:
            raise UserError(f"The concept's place cannot be followed in parts of the latent: {unknown}.") from unknown
        for axis, indices in enumerate(axes):
            mask = mask.index_select(axis, torch.as_tensor(list(indices), device=mask.device))
        return mask


def _numbered(name: str, number: int) -> str:
    return name if number == 1 else f"{name} ({number})"


class RunningPart(Protocol):
    """A part in one run."""

    @property
    def notes(self) -> Mapping[str, str]: ...

    def wrappers(self, pause: Callable[[bool], None]) -> Wrappers:
        """See `ActingRun`."""

    def model_options(self, options: dict[str, Any]) -> dict[str, Any]:
        """See `ActingRun`."""

    def call(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """See `ActingRun`."""


class Part(Protocol):
    """Something that acts in every run of a MODEL: configuration, no state.

    Attributes:
        last_percent: share of the run (0-1] up to which it wants maps.
    """

    @property
    def last_percent(self) -> float: ...

    def begin(self, guider: Any, encoded: EncodedConcepts, state: RunState) -> RunningPart | None:
        """The part in one run; None if it has nothing to do there.

        Raises:
            UserError: if it cannot act in such a run.
        """


@dataclass(frozen=True, eq=False)
class Plan:
    """All that acts in the runs of a MODEL, and the concepts whose maps it follows.

    Attributes:
        encoded: the concepts.
        parts: what acts, from the first node to the last.
    """

    encoded: EncodedConcepts
    parts: tuple[Part, ...] = ()

    @property
    def last_percent(self) -> float:
        """Share of the run (0-1] up to which maps are wanted."""
        return max(part.last_percent for part in self.parts)

    def begin(self, guider: Any, steps: int) -> Running | None:
        """See `Acting`."""
        state = RunState(steps)
        parts = [part.begin(guider, self.encoded, state) for part in self.parts]
        running = [part for part in parts if part is not None]
        return Running(state, running, self.encoded.concepts) if running else None


class Running:
    """All that acts in one run, see `ActingRun`."""

    def __init__(self, state: RunState, parts: Sequence[RunningPart], concepts: Sequence[Concept]) -> None:
        self._state = state
        self._parts = parts
        self._concepts = concepts

    @property
    def notes(self) -> dict[str, str]:
        """One text per kind of part."""
        return {name: text for part in self._parts for name, text in part.notes.items()}

    @property
    def masks(self) -> dict[str, Tensor]:
        """By name, (B, T, H, W) in latent pixels, on the CPU."""
        found = {name: mask.latest for name, mask in self._state.masks.items()}
        return {name: mask.float().cpu() for name, mask in found.items() if mask is not None}

    @property
    def unchanged(self) -> Tensor | None:
        """See `ActingRun`."""
        return self._state.unchanged

    def needs(self, step: int, steps: int) -> bool:
        """See `Follower`."""
        return any(mask.needs(step) for mask in self._state.masks.values())

    def take(self, step: int, shares: Tensor, geometry: RunGeometry) -> None:
        """See `Follower`."""
        if self._state.size is not None:
            for mask in self._state.masks.values():
                mask.take(step, shares, geometry, self._state.size)

    def after_step(self, step: int) -> None:
        """See `Follower`."""
        self._state.step = step + 1

    def wrappers(self, pause: Callable[[bool], None]) -> Wrappers:
        """See `ActingRun`."""
        own = [(WrappersMP.PREDICT_NOISE, self._measure)]
        return [*own, *(wrapper for part in self._parts for wrapper in part.wrappers(pause))]

    def model_options(self, options: dict[str, Any]) -> dict[str, Any]:
        """See `ActingRun`."""
        for part in self._parts:
            options = part.model_options(options)
        return options

    def call(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """See `ActingRun`."""
        for part in self._parts:
            arguments = part.call(arguments)
        return arguments

    def check(self, problems: Sequence[str]) -> None:
        """See `ActingRun`."""
        waiting = [name for name, mask in self._state.masks.items() if mask.needs(0) and mask.latest is None]
        if waiting:
            reason = "; ".join(filter(None, problems)) or "no step could be recorded"
            raise UserError(f"Nothing could be done where {', '.join(waiting)} is, as it was not found: {reason}.")

    def _measure(self, executor: Any, *args: Any, **kwargs: Any) -> Any:
        """An evaluation of the model (PREDICT_NOISE): the size of its latent."""
        try:
            self._state.size = latent_size(args[0] if args else kwargs["x"])
        except UnknownRegion as unknown:
            raise UserError(f"Concepts have no place in such a run: {unknown}.") from unknown
        return executor(*args, **kwargs)
