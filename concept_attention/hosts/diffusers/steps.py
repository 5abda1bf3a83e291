"""A pipeline's scheduler during one run: when a step ends, the noise that it draws, and where it begins."""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from ..own_run import is_own, own_run


@contextmanager
def following(
    scheduler: Any, on_start: Callable[[], None], on_step: Callable[[Any, Any], None], seed: int | None = None
) -> Iterator[None]:
    """Be told of the steps that a scheduler makes in this thread.

    Args:
        scheduler: of the pipeline that runs meanwhile.
        on_start: called when a run is about to begin.
        on_step: called after each step with its timestep, and the latents before it.
        seed: of the noise that the scheduler draws where the pipeline gives it no generator: it is what it would draw
            after `torch.manual_seed(seed)`, and torch's own generator is left alone. None leaves the noise as it is.
    """
    run, noise = object(), nullcontext() if seed is None else _SeededNoise(seed)
    start, step = scheduler.set_timesteps, scheduler.step

    def starting(*args: Any, **kwargs: Any) -> Any:
        if is_own(run):
            on_start()
        return start(*args, **kwargs)

    def stepping(*args: Any, **kwargs: Any) -> Any:
        if not is_own(run):
            return step(*args, **kwargs)
        with noise:
            result = step(*args, **kwargs)
        # The class's own signature: others may have put a method without one in its place.
        named = inspect.signature(type(scheduler).step).bind(scheduler, *args, **kwargs).arguments
        on_step(named["timestep"], named["sample"])
        return result

    with ExitStack() as undo:
        _replace(scheduler, "set_timesteps", _Followed(start, starting), undo)
        _replace(scheduler, "step", _Followed(step, stepping), undo)
        undo.enter_context(own_run(run))
        yield


def is_diffusion(scheduler: Any) -> bool:
    """Whether the squares of the image's and the noise's share add up to one; in flow matching the shares do."""
    return hasattr(scheduler, "alphas_cumprod") and not scheduler.config.get("use_flow_sigmas")


def first_timestep(scheduler: Any, noise: float) -> float:
    """The timestep of a noise level, 0-1: of flow matching the exact one, of diffusion the nearest."""
    if is_diffusion(scheduler):
        levels = (1 - scheduler.alphas_cumprod).clamp(min=0).sqrt()
        return float((levels - noise).abs().argmin())
    level = 1 - noise if scheduler.config.get("invert_sigmas") else noise
    return level * float(scheduler.config.num_train_timesteps)


@contextmanager
def beginning_at(pipeline: Any, timestep: float) -> Iterator[None]:
    """Let a run of a pipeline in this thread have one step, at this timestep; its scheduler is left alone."""
    own, scheduler = copy.copy(pipeline.scheduler), pipeline.scheduler
    run, start = object(), own.set_timesteps

    @functools.wraps(start)  # pipelines look at the parameters
    def starting(*args: Any, **kwargs: Any) -> None:
        start(*args, **kwargs)
        if is_own(run):
            kind = torch.float32 if hasattr(own, "sigmas") else own.timesteps.dtype
            own.timesteps = torch.tensor([timestep], dtype=kind, device=own.timesteps.device)

    own.set_timesteps = starting
    pipeline.scheduler = own
    try:
        with own_run(run):
            yield
    finally:
        pipeline.scheduler = scheduler


def _replace(scheduler: Any, name: str, method: Callable[..., Any], undo: ExitStack) -> None:
    """Give an object another method for a while."""
    own = vars(scheduler)
    if name in own:
        undo.callback(setattr, scheduler, name, own[name])
    else:
        undo.callback(delattr, scheduler, name)
    setattr(scheduler, name, method)


class _Followed:
    """A method in the place of another, whose parameters it seems to have: pipelines look at them.

    A scheduler that a pipeline copies meanwhile, as for the sound of LTX-2, has its own method.
    """

    def __init__(self, own: Callable[..., Any], method: Callable[..., Any]) -> None:
        functools.update_wrapper(self, own)
        self._own, self._method = own, method

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._method(*args, **kwargs)

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return copy.deepcopy(self._own, memo)


class _SeededNoise(TorchFunctionMode):
    """Normal noise from generators of its own, one per device, where none is given; in this thread only."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._seed = seed
        self._generators: dict[torch.device, torch.Generator] = {}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is torch.randn_like and kwargs.get("generator") is None:
            like = args[0] if args else kwargs["input"]
            device, dtype = kwargs.get("device") or like.device, kwargs.get("dtype") or like.dtype
            return torch.randn(like.shape, generator=self._generator(device), device=device, dtype=dtype)
        if func is torch.randn and kwargs.get("generator") is None:
            device = kwargs.get("device") or torch.get_default_device()
            kwargs = {**kwargs, "generator": self._generator(device)}
        return func(*args, **kwargs)

    def _generator(self, device: Any) -> torch.Generator:
        device = torch.device(device)
        if device not in self._generators:
            self._generators[device] = torch.Generator(device).manual_seed(self._seed)
        return self._generators[device]
