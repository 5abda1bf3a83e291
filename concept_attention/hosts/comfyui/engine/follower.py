"""What acts within a run: it gets the maps of every step while the run goes on, and takes part in the sampling."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from torch import Tensor

from .geometry import RunGeometry


class Follower(Protocol):
    """Gets the maps of the steps of one run."""

    def needs(self, step: int, steps: int) -> bool:
        """Whether the maps of this step, 0-based, are wanted; in other steps nothing is computed."""

    def take(self, step: int, shares: Tensor, geometry: RunGeometry) -> None:
        """The shares of one step, (B, C, N), float32, on the model's device."""

    def after_step(self, step: int) -> None:
        """A step has ended; its maps, if there are any, were taken before."""


class ActingRun(Follower, Protocol):
    """Acts within one run. Its state ends with the run.

    Attributes:
        notes: what it did, for the recording's metadata.
        masks: where it acted at the end, by name, (B, T, H, W) in latent pixels, 0-1, on the CPU.
        unchanged: the latent without what it did, as the sampler would have returned it; None if that is not known.
    """

    @property
    def notes(self) -> Mapping[str, str]: ...

    @property
    def masks(self) -> Mapping[str, Tensor]: ...

    @property
    def unchanged(self) -> Tensor | None: ...

    def wrappers(self, pause: Callable[[bool], None]) -> Sequence[tuple[str, Callable[..., Any]]]:
        """Wrappers for ComfyUI, as (kind, function); they go around those of the recording.

        Args:
            pause: stops the recording for a while, or goes on with it.
        """

    def model_options(self, options: dict[str, Any]) -> dict[str, Any]:
        """The guider's options for the run, from a copy that may be changed."""

    def call(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """The arguments by name that the run is sampled with, from those it was called with."""

    def check(self, problems: Sequence[str]) -> None:
        """After the run: raise a UserError if it could not act, for these reasons of the recording."""


class Acting(Protocol):
    """What acts in every run of a MODEL: configuration, no state."""

    def begin(self, guider: Any, steps: int) -> ActingRun | None:
        """What acts within a run of this guider; None if there is nothing to act on.

        Raises:
            UserError: if it cannot act in such a run.
        """
