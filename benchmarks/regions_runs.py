"""The sampling runs of `benchmarks.regions`; import it after ComfyUI's library."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import comfy.sample
import comfy.samplers
import comfy.sd
import torch
from nodes import ConditioningSetMask
from torch import Tensor

from concept_attention import make_heatmaps, parse_concepts
from concept_attention.heatmaps.guided import sharpen_heatmaps
from concept_attention.heatmaps.resize import resize_maps
from concept_attention.hosts.comfyui.acting.lora import LoraSomewhere
from concept_attention.hosts.comfyui.acting.place import Place
from concept_attention.hosts.comfyui.acting.prompts import Region, add_region
from concept_attention.hosts.comfyui.acting.regions import PromptsOfRegions
from concept_attention.hosts.comfyui.encoding.encode import encode_concepts
from concept_attention.hosts.comfyui.engine.run import RunResult
from concept_attention.hosts.comfyui.engine.settings import Settings
from concept_attention.hosts.comfyui.patching import add_part, patch_model
from concept_attention.tiny.comfyui.loader import load_landscape

from .comfyui_flux import RandomComfyFlux
from .comfyui_sizes import Sizes
from .regions import WAYS, Pair

SIDE = 256  # pixels
CFG = 3.0
SAMPLER = "euler"
STEPS = 4  # of the runs that are timed


@dataclass(frozen=True, eq=False)
class Base:
    """The plain run of a base prompt: its latent and picture, and the thing's outline in it, (H, W) bool."""

    latent: Tensor
    picture: Tensor
    outline: Tensor


@dataclass(frozen=True, eq=False)
class Case:
    """All ways of one pair and seed.

    Attributes:
        base: the plain run.
        pictures: by way, (H, W, 3), 0-1.
        mask: of the live region, in pixels, (H, W).
        latent_leak: greatest difference of the latent outside of the mask, with keep the rest.
    """

    base: Base
    pictures: Mapping[str, Tensor]
    mask: Tensor
    latent_leak: float

    def change(self, way: str) -> tuple[float, float]:
        """Mean absolute difference of pixels from the base picture, 0-255, inside of the outline and outside."""
        difference = (self.pictures[way] - self.base.picture).abs().mean(dim=-1) * 255
        return float(difference[self.base.outline].mean()), float(difference[~self.base.outline].mean())

    def row(self) -> Tensor:
        """The pictures side by side: base, every way, outline, mask."""
        maps = [one.float()[..., None].expand(-1, -1, 3) for one in (self.base.outline, self.mask)]
        return torch.cat([self.base.picture, *(self.pictures[way] for way in WAYS), *maps], dim=1)


class Landscapes:
    """Runs of the landscape model.

    Args:
        steps: of every run.
        place: `start` and `freeze` of regions; None is the default.
    """

    def __init__(self, steps: int, place: Mapping[str, float | None]) -> None:
        self._steps = steps
        self._place: dict[str, Any] = {name: value for name, value in place.items() if value is not None}
        self._model, self._clip, self._vae = load_landscape()
        self._base = functools.lru_cache(maxsize=1)(self._sample_base)

    def base(self, pair: Pair, seed: int) -> Base:
        """The plain run of the base prompt."""
        return self._base(pair, seed)

    def case(self, pair: Pair, seed: int) -> Case:
        """All ways of one pair."""
        base = self.base(pair, seed)
        pictures = {"everywhere": self._picture(self._sample(self._model, self._cond(pair.other), seed))}
        pictures["two passes"] = self._picture(self._sample(self._model, self._masked(pair, base.outline), seed))
        pictures["blend"] = self._picture(self.region(pair, seed, "blend")[0])
        kept, result = self.region(pair, seed, "keep the rest")
        pictures["keep the rest"] = self._picture(kept)
        (mask,) = result.masks.values()
        outside = (mask[:, 0] == 0)[:, None].expand_as(kept)
        leak = float((kept - base.latent)[outside].abs().max()) if outside.any() else 0.0
        return Case(base, pictures, resize_maps(mask[0, 0], (SIDE, SIDE)), leak)

    def region(self, pair: Pair, seed: int, way: Any) -> tuple[Tensor, RunResult]:
        """A run with a live region: its latent and result."""
        found: list[RunResult] = []
        model, positive = self._with_region(pair, way)
        settings = Settings(self._encoded(pair), layers="auto")
        model = patch_model(model, settings, lambda _, result: found.append(result))
        return self._sample(model, positive, seed), found[0]

    def small_run(self, number: int) -> None:
        """A run of a new patched model with a region, small and short, alternating between the ways."""
        pair = Pair("a red car on snow", "a blue car on snow", "car", "car, snow, sky")
        model, positive = self._with_region(pair, "blend" if number % 2 else "keep the rest")
        self._sample(model, positive, number, size=64, steps=4)

    def _sample_base(self, pair: Pair, seed: int) -> Base:
        found: list[RunResult] = []
        settings = Settings(self._encoded(pair), layers="auto")
        model = patch_model(self._model, settings, lambda _, result: found.append(result))
        latent = self._sample(model, self._cond(pair.base), seed)
        picture, recording = self._picture(latent), found[0].recording
        assert recording is not None, found[0].reason
        finished = make_heatmaps(recording, steps=f"{self._steps * 7 // 10}-{self._steps - 1}")
        shares = sharpen_heatmaps(finished, picture[None], (SIDE, SIDE)).values[0]
        return Base(latent, picture, shares.argmax(dim=0) == finished.index(pair.concept))

    def _with_region(self, pair: Pair, way: Any) -> tuple[Any, Any]:
        encoded = self._encoded(pair)
        place = Place((pair.concept,), **self._place)
        model = add_part(self._model, encoded, PromptsOfRegions(place.last_percent))
        region = Region(place, way, encoded.fingerprint())
        return model, add_region(self._cond(pair.base), self._cond(pair.other), region)

    def _masked(self, pair: Pair, outline: Tensor) -> Any:
        """Both prompts with core's masks: the usual way, after a first pass."""
        mask = outline.float()[None]
        append = ConditioningSetMask().append
        base = append(self._cond(pair.base), 1 - mask, "default", 1.0)[0]
        return [*base, *append(self._cond(pair.other), mask, "default", 1.0)[0]]

    def _cond(self, prompt: str) -> Any:
        return self._clip.encode_from_tokens_scheduled(self._clip.tokenize(prompt))

    def _encoded(self, pair: Pair) -> Any:
        return encode_concepts(self._clip, parse_concepts(pair.concepts))

    def _picture(self, latent: Tensor) -> Tensor:
        return self._vae.decode(latent)[0].clamp(0, 1)

    def _sample(self, model: Any, positive: Any, seed: int, size: int = SIDE, steps: int | None = None) -> Tensor:
        options = (steps or self._steps, CFG, SAMPLER)
        return sample(model, positive, self._cond(""), torch.zeros(1, 16, size // 8, size // 8), seed, *options)


class Costs:
    """Runs of a random Flux whose times are compared: large enough that the model's own work counts.

    Args:
        width, blocks, singles: see `Sizes`.
    """

    def __init__(self, width: int, blocks: int, singles: int) -> None:
        self._flux = RandomComfyFlux(Sizes("bench", width, blocks, singles, 512, 128, 2, STEPS, "cpu", "float32"))
        _, *_, self._base, _, latent = self._flux.arguments()
        self._other = [[-text, dict(options)] for text, options in self._base]
        self._latent = latent["samples"]

    def ways(self) -> dict[str, Callable[[], Tensor]]:
        """The runs; `before` and `after` are the parts of a run that have one prompt, and two."""
        encoded, model = self._flux.encoded, self._flux.model
        name = next(one.name for one in encoded.concepts if self._found(one.name))
        place = Place((name,), start=1 / STEPS)
        weights = random_lora(model)
        everywhere, _ = comfy.sd.load_bypass_lora_for_models(model, None, weights, 1.0, 0.0)
        ones = torch.ones(1, *self._latent.shape[-2:])
        both = [*ConditioningSetMask().append(self._base, ones, "default", 1.0)[0]]
        both += ConditioningSetMask().append(self._other, ones, "default", 1.0)[0]
        return {
            "base prompt": self._run(model, self._base),
            "base prompt, before": self._run(model, self._base, slice(0, 2)),
            "both prompts, after": self._run(model, both, slice(1, None)),
            "other prompt, after": self._run(model, self._other, slice(1, None)),
            "blend": self._run(*self._region(place, "blend")),
            "keep the rest": self._run(*self._region(place, "keep the rest")),
            "LoRA everywhere": self._run(everywhere, self._base),
            "LoRA in a place": self._run(add_part(model, encoded, LoraSomewhere("", weights, 1.0, place)), self._base),
        }

    def _found(self, name: str) -> bool:
        """Whether this concept wins any token, so that a region for it acts."""
        results: list[RunResult] = []
        model, positive = self._region(Place((name,), start=1 / STEPS), "blend")
        settings = Settings(self._flux.encoded, layers="auto")
        self._run(patch_model(model, settings, lambda _, result: results.append(result)), positive)()
        return any(bool(mask.any()) for mask in results[0].masks.values())

    def _region(self, place: Place, way: Any) -> tuple[Any, Any]:
        encoded = self._flux.encoded
        model = add_part(self._flux.model, encoded, PromptsOfRegions(place.last_percent))
        return model, add_region(self._base, self._other, Region(place, way, encoded.fingerprint()))

    def _run(self, model: Any, positive: Any, steps: slice = slice(None)) -> Callable[[], Tensor]:
        return lambda: sample(model, positive, self._base, self._latent, 1, STEPS, 1.0, SAMPLER, steps)


def sample(
    model: Any,
    positive: Any,
    negative: Any,
    latent: Tensor,
    seed: int,
    steps: int,
    cfg: float,
    sampler_name: str,
    part: slice = slice(None),
) -> Tensor:
    """What KSampler does; `part` are the noise levels of the schedule that are sampled."""
    device, options = model.load_device, model.model_options
    sampler = comfy.samplers.KSampler(model, steps, device, sampler_name, "simple", 1.0, options)
    noise = comfy.sample.prepare_noise(latent, seed)
    levels = sampler.sigmas[part]
    return sampler.sample(noise, positive, negative, cfg, latent, sigmas=levels, disable_pbar=True, seed=seed)


def random_lora(model: Any, rank: int = 8) -> dict[str, Tensor]:
    """A random LoRA for all linear layers of a Flux's blocks."""
    generator = torch.Generator().manual_seed(0)
    weights = {}
    for name, module in model.model.diffusion_model.named_modules():
        if isinstance(module, torch.nn.Linear) and "blocks" in name:
            rows, columns = module.weight.shape
            key = f"diffusion_model.{name}"
            weights[f"{key}.lora_A.weight"] = torch.randn(rank, columns, generator=generator) / math.sqrt(columns)
            weights[f"{key}.lora_B.weight"] = torch.randn(rows, rank, generator=generator) * 0.1
    return weights
