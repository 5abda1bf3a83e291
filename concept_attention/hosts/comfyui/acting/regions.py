"""Prompts that count where a concept is, in one run: blended with the others, or without any change outside."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from comfy.patcher_extension import WrappersMP
from torch import Tensor

from ....errors import UserError
from ...encoded import EncodedConcepts
from .keep import KeepTheRest
from .place import LiveMask
from .prompts import Region, RegionWeights, is_regional, regions_of, without_regions
from .run import RunState, Wrappers


@dataclass(frozen=True)
class PromptsOfRegions:
    """The prompts of a region in the runs of a MODEL. Which they are, the CONDITIONING says; one part finds all.

    Attributes:
        last_percent: share of the run (0-1] up to which the region's map is wanted.
    """

    last_percent: float

    def begin(self, guider: Any, encoded: EncodedConcepts, state: RunState) -> RunningRegions | None:
        """See `Part`."""
        regions = regions_of(getattr(guider, "conds", None) or {})
        if not regions or state.has_regions:
            return None
        if any(region.fingerprint != encoded.fingerprint() for region in regions):
            raise UserError(
                "The MODEL and the CONDITIONING of a region come from nodes with different concepts. Connect both "
                "outputs of the node, and the same Encode Concepts to all nodes that act in one run."
            )
        state.has_regions = True
        return RunningRegions(regions, encoded, state)


class RunningRegions:
    """The regions of one run.

    Args:
        regions: all of them.
        encoded: the concepts.
        state: of the run.
    """

    def __init__(self, regions: list[Region], encoded: EncodedConcepts, state: RunState) -> None:
        self._state = state
        self._regions = {region.key: region for region in regions}
        self._masks: dict[str, LiveMask] = {}
        for region in regions:
            mask = LiveMask(region.place, encoded.concepts, state.steps)
            self._masks[region.key] = state.add(region.name, mask)
        keeps = any(region.way == "keep the rest" for region in regions)
        self._keep = KeepTheRest(state, self.masks_of) if keeps else None

    @property
    def notes(self) -> Mapping[str, str]:
        """What every region was."""
        return {"regions": "; ".join(_note(region) for region in self._regions.values())}

    def wrappers(self, pause: Callable[[bool], None]) -> Wrappers:
        """See `ActingRun`."""
        kept = [] if self._keep is None else self._keep.wrappers(pause)
        return [*kept, (WrappersMP.CALC_COND_BATCH, self._calc_cond_batch)]

    def model_options(self, options: dict[str, Any]) -> dict[str, Any]:
        """See `ActingRun`."""
        return options

    def call(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """See `ActingRun`."""
        return arguments

    def masks_of(self, way: str) -> dict[str, Tensor]:
        """Masks of the regions of this way that act in the present step, by key."""
        keys = [key for key, region in self._regions.items() if region.way == way]
        found = {key: self._masks[key].at(self._state.step) for key in keys}
        return {key: mask for key, mask in found.items() if mask is not None}

    def _calc_cond_batch(
        self, executor: Any, model: Any, conds: Any, x_in: Tensor, timestep: Tensor, model_options: dict[str, Any]
    ) -> Any:
        """Some prompts of an evaluation: those of regions get the weight of their masks."""
        if not any(is_regional(prompt) for prompts in conds for prompt in prompts or ()):
            return executor(model, conds, x_in, timestep, model_options)
        second = self._keep is not None and self._keep.masks is not None
        masks = self._keep.masks if second else self.masks_of("blend")  # type: ignore[union-attr]
        if not masks:
            return executor(model, without_regions(conds), x_in, timestep, model_options)
        window = model_options.get("transformer_options", {}).get("context_window")
        parts = {key: self._state.part_of(mask, x_in, window) for key, mask in masks.items()}
        weighted = []
        for prompts in conds:
            if prompts is None or not any(map(is_regional, prompts)):
                weighted.append(prompts)
                continue
            weights = RegionWeights(prompts, parts, x_in, timestep)
            weighted.append(weights.regional() if second else weights.blended())
        return executor(model, weighted, x_in, timestep, model_options)


def _note(region: Region) -> str:
    place = region.place
    return f"{region.name}: {region.way}, start {place.start:g}, freeze {place.freeze:g}, strength {place.strength:g}"
