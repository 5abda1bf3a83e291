"""Changes in a region that leave the rest of the picture as it is, bit for bit.

The sampler runs twice, with the same noise: first without the regions, and the latent and the prediction of every
evaluation are kept; then with the regions' prompts alone. There, before each evaluation the latent outside of the masks
is that of the first run, and after it the prediction is weighted: m of the regions' and 1 - m of the first run's. At
the end the latent outside is the first run's. Up to the first step in which a region acts nothing is evaluated again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import comfy.model_patcher
import torch
from comfy.patcher_extension import WrappersMP
from torch import Tensor

from ....errors import UserError
from .place import mask_at
from .prompts import RegionWeights, is_regional
from .run import RunState, Wrappers

_SAMPLE = ("model_wrap", "sigmas", "extra_args", "callback", "noise", "latent_image", "denoise_mask", "disable_pbar")


@dataclass(frozen=True, eq=False)
class _Evaluation:
    """One evaluation of the first run: its latent and prediction, on the CPU, and the masks that act in it."""

    x: Tensor
    denoised: Tensor
    sigma: float
    masks: Mapping[str, Tensor]


class KeepTheRest:
    """The two runs of a sampler.

    Args:
        state: of the run.
        masks_of: the masks that act in the present step, for a way.

    Attributes:
        masks: those of the evaluation at hand, in the second run; None in the first.
    """

    def __init__(self, state: RunState, masks_of: Callable[[str], dict[str, Tensor]]) -> None:
        self._state = state
        self._masks_of = masks_of
        self._first: list[_Evaluation] = []
        self._second: list[_Evaluation] | None = None  # what is left of the first run while the second goes on
        self.masks: Mapping[str, Tensor] | None = None

    def wrappers(self, pause: Callable[[bool], None]) -> Wrappers:
        """See `ActingRun`."""

        def sample(executor: Any, *args: Any, **kwargs: Any) -> Any:
            return self._sample(pause, executor, {**dict(zip(_SAMPLE, args, strict=False)), **kwargs})

        return [(WrappersMP.SAMPLER_SAMPLE, sample), (WrappersMP.PREDICT_NOISE, self._predict_noise)]

    def _sample(self, pause: Callable[[bool], None], executor: Any, call: dict[str, Any]) -> Tensor:
        """The sampler's run (SAMPLER_SAMPLE), twice."""
        steps, callback = len(call["sigmas"]) - 1, call["callback"]
        random = torch.random.fork_rng([call["noise"].device] if call["noise"].is_cuda else [])
        with random:  # the second run begins with the same state of the generators
            first = executor(*_arguments(call, _moved(callback, 0, 2 * steps)))
        model = call["model_wrap"].inner_model
        self._state.unchanged = model.process_latent_out(first.float()).cpu()
        masks = self._masks_of("keep the rest")
        try:
            if not any(one.masks for one in self._first):
                return first
            pause(True)
            self._second = list(reversed(self._first))
            second = executor(*_arguments(call, _moved(callback, steps, 2 * steps)))
        finally:
            self._first, self._second, self.masks = [], None, None
            pause(False)
        inside = mask_at(torch.stack(list(masks.values())).amax(dim=0), first) > 0
        return torch.where(inside, second, first)

    def _predict_noise(self, executor: Any, x: Tensor, timestep: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """An evaluation of the model (PREDICT_NOISE)."""
        if self._second is None:
            denoised = executor(x, timestep, *args, **kwargs)
            masks = self._masks_of("keep the rest")
            self._first.append(_Evaluation(x.cpu(), denoised.cpu(), float(timestep.flatten()[0]), masks))
            return denoised
        sigma = float(timestep.flatten()[0])
        first = self._second.pop() if self._second else None
        if first is None or first.sigma != sigma or first.x.shape != x.shape:
            raise UserError(
                "This sampler chooses its steps by the picture, so the rest cannot be kept. "
                "Choose another sampler, or way: blend."
            )
        denoised = first.denoised.to(x.device)
        conds = executor.class_obj.conds.values()
        weights = [
            RegionWeights(prompts, first.masks, x, timestep)
            for prompts in conds
            if prompts and any(map(is_regional, prompts))
        ]
        total = next((one.total for one in weights if one.total is not None), None)
        if total is None:
            return denoised
        self.masks = first.masks
        changed = executor(torch.where(total > 0, x, first.x.to(x.device)), timestep, *args, **kwargs)
        self.masks = None
        return torch.where(total > 0, total * changed + (1 - total) * denoised, denoised)


def _moved(callback: Any, by: int, steps: int) -> Any:
    """A sampler's callback whose steps are counted within both runs."""
    if callback is None:
        return None
    return lambda step, denoised, x, _: callback(step + by, denoised, x, steps)


def _arguments(call: Mapping[str, Any], callback: Any) -> list[Any]:
    """The call's arguments in order, with model options of their own: samplers change them."""
    extra = dict(call["extra_args"])
    extra["model_options"] = comfy.model_patcher.create_model_options_clone(extra["model_options"])
    given = {**call, "callback": callback, "extra_args": extra}
    return [given[name] for name in _SAMPLE if name in given]
