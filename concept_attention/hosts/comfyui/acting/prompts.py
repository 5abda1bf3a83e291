"""Prompts of regions: how a CONDITIONING carries them, and the weights that an evaluation gives them.

ComfyUI averages what the model predicts for several prompts with the weights of their strengths, masks and faded areas
(`get_area_and_mult` of comfy/samplers.py). In an evaluation the regions' prompts get the weight m of their mask, and
the others what they had, times 1 - m.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import comfy.conds
import comfy.samplers
import torch
from torch import Tensor

from ....choices import REGION_WAYS, RegionWay, check_choice
from ....errors import UserError
from ..engine.prompts import Conds
from .place import Place, mask_at

MARK = "concept_region"  # in a prompt's dict: its `RegionPrompt`


@dataclass(frozen=True, eq=False)
class Region:
    """A region that has prompts of its own.

    Attributes:
        place: where.
        way: `blend` weights the predictions; `keep the rest` changes nothing outside, see `KeepTheRest`.
        fingerprint: of the encoded concepts that it is found by.
        key: tells it from other regions.
    """

    place: Place
    way: RegionWay
    fingerprint: str
    key: str = field(default_factory=lambda: uuid.uuid4().hex)

    def __post_init__(self) -> None:
        check_choice("way", self.way, REGION_WAYS)

    @property
    def name(self) -> str:
        """The names of its concepts."""
        return " + ".join(self.place.concepts)


@dataclass(frozen=True, eq=False)
class RegionPrompt:
    """One prompt of a region, with the strength that it had."""

    region: Region
    strength: float


class _OnlyWhereItActs(comfy.conds.CONDConstant):
    """Among the conditions of a region's prompt: the model gets those of the prompts that ComfyUI evaluates itself."""

    def __init__(self, region: Region) -> None:
        super().__init__(None)
        self._region = region

    def process_cond(self, batch_size: int, **options: Any) -> Any:
        """ComfyUI is about to evaluate the prompt: nothing in this run knows of the region."""
        raise UserError(
            f"The CONDITIONING has a region, {self._region.name}, and nothing in this run acts on it. Connect the "
            "MODEL of Prompt Where a Concept Is to the sampler as well, or use the CONDITIONING before that node."
        )


def add_region(base: Any, regional: Any, region: Region) -> Any:
    """A CONDITIONING with the prompts of a region after the others.

    A run that knows nothing of regions ends with an error. The negative prompt does not take over their ControlNet.

    Raises:
        UserError: if a regional prompt has an area, or belongs to another region.
    """
    marked = []
    for text, options in regional:
        if MARK in options:
            raise UserError(
                "The regional CONDITIONING has regions already. Connect the base CONDITIONING of this node to the "
                "output of the node before, and a prompt of its own to the region."
            )
        if "area" in options or options.get("set_area_to_bounds"):
            raise UserError(
                "The regional prompt has an area, which would crop the latent. Leave the area out; for a part of the "
                "concept use Conditioning (Set Mask) with default for the area."
            )
        prompt = RegionPrompt(region, float(options.get("strength", 1.0)))
        conds = {**options.get("model_conds", {}), MARK: _OnlyWhereItActs(region)}
        own = {MARK: prompt, "model_conds": conds, "strength": 0.0, "control_apply_to_uncond": False}
        marked.append([text, {**options, **own}])
    return [*base, *marked]


def regions_of(conds: Mapping[str, Conds | None]) -> list[Region]:
    """The regions of a guider's prompts, each once, in their order."""
    found = {
        prompt[MARK].region.key: prompt[MARK].region
        for prompts in conds.values()
        for prompt in prompts or ()
        if MARK in prompt
    }
    return list(found.values())


def is_regional(prompt: Mapping[str, Any]) -> bool:
    """Whether a prompt belongs to a region."""
    return MARK in prompt


class RegionWeights:
    """Weights of the regions' prompts in one list, for one evaluation.

    Args:
        prompts: the list.
        masks: of the regions that act, by key, (B, T, H, W) in latent pixels of `x`, 0-1.
        x: the latent that is evaluated, (B, C, H, W) or (B, C, T, H, W).
        timestep: sigma of every image, (B,).

    Attributes:
        weights: by region key, where its prompts cover it, (B, 1, ...) as a factor of `x`; together at most 1.
        total: their sum, or None if no region acts.
    """

    def __init__(self, prompts: Conds, masks: Mapping[str, Tensor], x: Tensor, timestep: Tensor) -> None:
        self._prompts, self._x, self._timestep = prompts, x, timestep
        self._own: dict[int, Tensor] = {}  # weight that a regional prompt has by itself, by position
        covered: dict[str, Tensor] = {}
        for position, prompt in enumerate(prompts):
            key = prompt[MARK].region.key if MARK in prompt else ""
            if key not in masks:
                continue
            own = own_weight({**prompt, "strength": prompt[MARK].strength}, x, timestep)
            if own is not None:
                self._own[position] = own
                covered[key] = covered.get(key, torch.zeros_like(own)) + own
        self._covered = covered
        weights = {key: mask_at(masks[key], x) * cover.clamp(0, 1) for key, cover in covered.items()}
        weights = {key: weight for key, weight in weights.items() if bool((weight > 0).any())}
        self.total: Tensor | None = None
        if weights:
            together = sum_of(weights.values())
            if bool((together > 1).any()):  # what overlaps is shared out
                weights = {key: weight / together.clamp(min=1) for key, weight in weights.items()}
                together = together.clamp(max=1)
            self.total = together
        self.weights = weights

    def blended(self) -> list[Any]:
        """All prompts, with the weights that regions and the rest have."""
        others = [prompt for prompt in self._prompts if MARK not in prompt]
        if self.total is None:
            return others
        owns = [None if "default" in one else own_weight(one, self._x, self._timestep) for one in others]
        given = [own for own in owns if own is not None]
        scale = sum_of(given) if given else torch.ones_like(self.total)
        if any("default" in prompt for prompt in others):  # these get what the rest leaves of 1
            scale = scale.clamp(min=1)
        scale = torch.where(scale > 0, scale, 1.0)
        rest = 1 - self.total
        weighted = [
            prompt if own is None else _with_weight(prompt, own * rest)
            for prompt, own in zip(others, owns, strict=True)
        ]
        return [*weighted, *self.regional(scale)]

    def regional(self, scale: Tensor | float = 1.0) -> list[Any]:
        """The prompts of the regions alone, where they act; their weights times `scale`."""
        weighted = []
        for position, own in self._own.items():
            prompt = self._prompts[position]
            key = prompt[MARK].region.key
            if key in self.weights:
                part = torch.where(self._covered[key] > 0, own / self._covered[key].clamp(min=1e-37), 0.0)
                weighted.append(_with_weight(prompt, self.weights[key] * part * scale))
        return weighted


def own_weight(prompt: Mapping[str, Any], x: Tensor, timestep: Tensor) -> Tensor | None:
    """The weight that ComfyUI gives a prompt, (B, 1, ...) over all of x; None if it is not evaluated now."""
    found = comfy.samplers.get_area_and_mult({**prompt, "model_conds": {}}, x, timestep)
    if found is None:
        return None
    mult = found.mult[:, :1]
    if found.area is None:
        return mult
    weight = torch.zeros_like(x[:, :1])
    view, count = weight, len(found.area) // 2
    for axis in range(count):
        view = view.narrow(axis + 2, found.area[count + axis], found.area[axis])
    view.copy_(mult)
    return weight


def sum_of(parts: Any) -> Tensor:
    """The sum of tensors, one or more."""
    return torch.stack(list(parts)).sum(dim=0)


def _with_weight(prompt: Mapping[str, Any], weight: Tensor) -> dict[str, Any]:
    """A prompt with exactly this weight, (B, 1, ...)."""
    conds = _unmarked(prompt["model_conds"])
    return {**_unmarked(prompt), "model_conds": conds, "mask": weight[:, 0], "mask_strength": 1.0, "strength": 1.0}


def _unmarked(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if name != MARK}


def base_of(conditioning: Any) -> Any:
    """A CONDITIONING without the prompts of regions."""
    return [[text, options] for text, options in conditioning if MARK not in options]


def without_regions(conds: Sequence[Conds | None]) -> list[Any]:
    """Lists of prompts without those of regions; a list that has none is itself."""
    return [
        prompts if prompts is None or not any(map(is_regional, prompts)) else [p for p in prompts if MARK not in p]
        for prompts in conds
    ]
