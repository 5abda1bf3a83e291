"""Strengths that differ where a concept is: of guidance (CFG), of ControlNets, of denoising."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import comfy.model_patcher
import torch
import torch.nn.functional as F
from comfy.patcher_extension import WrappersMP
from torch import Tensor

from ....choices import SCALED, Scaled, check_choice
from ....errors import UserError
from ...encoded import EncodedConcepts
from ..adapters.registry import adapter_for
from ..engine.geometry import latent_pixels_per_token
from ..engine.regions import latent_to_tokens
from .place import LiveMask, Place, mask_at, per_token
from .run import RunState, Wrappers


@dataclass(frozen=True, eq=False)
class StrengthSomewhere:
    """A strength that is another one in a place, in every run of a MODEL.

    Attributes:
        scaled: which strength.
        inside: its factor where the mask is 1; 1 where it is 0.
        place: where.

    Raises:
        UserError: for another strength, or a factor out of range.
    """

    scaled: Scaled
    inside: float
    place: Place

    def __post_init__(self) -> None:
        check_choice("scales", self.scaled, SCALED)
        most = 1 if self.scaled == "denoise" else 10
        if not 0 <= self.inside <= most:
            raise UserError(f"The factor of {self.scaled} must lie in 0 to {most}, got {self.inside}.")

    @property
    def last_percent(self) -> float:
        """See `Part`."""
        return self.place.last_percent

    def begin(self, guider: Any, encoded: EncodedConcepts, state: RunState) -> RunningStrength | None:
        """See `Part`."""
        if self.inside == 1 or self.place.strength == 0:
            return None
        name = f"{self.scaled}: {' + '.join(self.place.concepts)}"
        mask = state.add(name, LiveMask(self.place, encoded.concepts, state.steps))
        architecture = adapter_for(guider.model_patcher.model).describe(guider.model_patcher.model)
        return RunningStrength(self, mask, state, latent_pixels_per_token(architecture))


class RunningStrength:
    """The strength in one run."""

    def __init__(
        self, settings: StrengthSomewhere, mask: LiveMask, state: RunState, patch: tuple[int, int, int]
    ) -> None:
        self._settings, self._mask, self._state, self._patch = settings, mask, state, patch
        where = " + ".join(settings.place.concepts)
        self.notes: Mapping[str, str] = {f"strength of {settings.scaled}": f"{where}, times {settings.inside:g}"}

    def wrappers(self, pause: Callable[[bool], None]) -> Wrappers:
        """See `ActingRun`."""
        return [(WrappersMP.APPLY_MODEL, self._scale_control)] if self._settings.scaled == "controlnet" else []

    def model_options(self, options: dict[str, Any]) -> dict[str, Any]:
        """See `ActingRun`."""
        if self._settings.scaled == "cfg":
            return comfy.model_patcher.set_model_options_pre_cfg_function(options, self._scale_guidance)
        if self._settings.scaled == "denoise":
            options["denoise_mask_function"] = _chained(options.get("denoise_mask_function"), self._scale_denoise)
        return options

    def call(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """See `ActingRun`."""
        if self._settings.scaled != "denoise":
            return arguments
        if not torch.count_nonzero(arguments["latent_image"]):
            raise UserError(
                "Denoise by place keeps a part of a picture that there is, and this latent is empty. Connect the "
                "latent of a picture to the sampler."
            )
        if arguments.get("denoise_mask") is None:  # without one ComfyUI does not ask how much to denoise
            arguments = {**arguments, "denoise_mask": torch.ones_like(arguments["latent_image"])}
        return arguments

    def _factor(self, mask: Tensor) -> Tensor:
        return 1 + (self._settings.inside - 1) * mask

    def _scale_guidance(self, call: Mapping[str, Any]) -> list[Tensor]:
        """Before guidance: what the positive prompt predicts, nearer to the negative's or further from it."""
        mask, outputs = self._mask.at(self._state.step), call["conds_out"]
        if mask is None or call["conds"][1] is None:  # without guidance there is nothing to scale
            return list(outputs)
        positive, negative = outputs[0], outputs[1]
        factor = self._factor(mask_at(mask, positive))
        return [torch.lerp(negative, positive, factor.expand_as(positive)), *outputs[1:]]

    def _scale_denoise(self, sigma: Tensor, denoise_mask: Tensor) -> Tensor:
        mask = self._mask.at(self._state.step)
        return denoise_mask if mask is None else denoise_mask * self._factor(mask_at(mask, denoise_mask))

    def _scale_control(self, executor: Any, x: Tensor, *args: Any, **kwargs: Any) -> Any:
        """One call of the model (APPLY_MODEL): what its ControlNets add, token by token."""
        mask, control = self._mask.at(self._state.step), args[3] if len(args) > 3 else kwargs.get("control")
        if mask is None or not control:
            return executor(x, *args, **kwargs)
        options = (args[4] if len(args) > 4 else kwargs.get("transformer_options")) or {}
        chunks = max(1, len(options.get("cond_or_uncond", ())))
        part = self._state.part_of(mask, x[: len(x) // chunks], options.get("context_window"))
        scaled = {
            kind: [None if one is None else one * self._of_tokens(part, one, chunks) for one in added]
            for kind, added in control.items()
        }
        if len(args) > 3:
            return executor(x, *args[:3], scaled, *args[4:], **kwargs)
        return executor(x, *args, **{**kwargs, "control": scaled})

    def _of_tokens(self, mask: Tensor, added: Tensor, chunks: int) -> Tensor:
        """The factor of what a ControlNet adds to tokens, (B, N, D), or to a map, (B, D, H, W)."""
        if added.ndim == 4:
            maps = F.interpolate(mask[:, 0][:, None], size=added.shape[-2:], mode="bilinear", antialias=True)
            return self._factor(maps).to(added).repeat(chunks, 1, 1, 1)
        tokens = per_token(mask, self._patch)
        if added.ndim != 3 or added.shape[1] < tokens.shape[1]:
            grid = latent_to_tokens(mask.shape[1:], self._patch)
            raise UserError(
                f"What this ControlNet adds, of shape {tuple(added.shape)}, does not belong to the image's tokens "
                f"{grid}, so its strength cannot differ by place."
            )
        factor = torch.ones(added.shape[0], added.shape[1], 1, device=added.device, dtype=added.dtype)
        factor[:, : tokens.shape[1], 0] = self._factor(tokens).to(added).repeat(chunks, 1)
        return factor


def _chained(before: Any, ours: Callable[[Tensor, Tensor], Tensor]) -> Callable[..., Tensor]:
    """A denoise mask function after ours: Differential Diffusion's sees the mask that we have scaled."""

    def scale(sigma: Tensor, denoise_mask: Tensor, extra_options: Any = None) -> Tensor:
        scaled = ours(sigma, denoise_mask)
        return scaled if before is None else before(sigma, scaled, extra_options=extra_options)

    return scale
