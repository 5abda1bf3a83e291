"""What a pipeline gives its transformer: the arguments of the first evaluation of a run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from typing import Any

from torch import nn

from ...own_run import is_own, own_run
from ..eager import eager
from ..named import named
from ..networks import networks_of
from ..steps import beginning_at


class _Given(BaseException):
    """The transformer was given its arguments; the steps of a modular pipeline log every `Exception` as an error."""


def first_evaluation(pipeline: Any, call: Callable[[], Any], timestep: float) -> dict[str, Any]:
    """The arguments, by name, of the first evaluation of a run at a timestep; nothing is evaluated.

    Args:
        pipeline: whose transformer is not compiled meanwhile, see `running_eager`.
        call: calls it.
        timestep: of the scheduler.
    """
    run, given = object(), dict[str, Any]()

    def note(module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        if is_own(run):
            given.update(named(module, args, kwargs))
            raise _Given

    bars = getattr(pipeline, "_progress_bar_config", {})
    with ExitStack() as undo:
        undo.callback(setattr, pipeline, "_progress_bar_config", bars)
        pipeline.set_progress_bar_config(**{**bars, "disable": True})
        for network in map(eager, networks_of(pipeline).values()):
            undo.callback(network.register_forward_pre_hook(note, prepend=True, with_kwargs=True).remove)
        undo.enter_context(beginning_at(pipeline, timestep))
        undo.enter_context(own_run(run))
        with suppress(_Given):
            call()
    return given
