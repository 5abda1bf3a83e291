"""Hooks on a transformer or U-Net during one run, whatever they read there: what is put on, and that nothing stays.

Other threads may call the transformer meanwhile: the hooks do nothing there.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import TracebackType
from typing import Any, TypeVar

import torch
from torch import nn

from ...errors import UserError
from ..own_run import is_own, own_run
from ..reasons import reason_of
from .eager import eager
from .named import Arguments, named

Observe = Callable[[Arguments], slice | None]  # the observed rows of an evaluation's batch, or None
Hook = Callable[..., None]  # registers a hook for the time of the run

_Self = TypeVar("_Self", bound="RunHooks")
_ENTRY = threading.Lock()  # only one at a time looks whether it may enter


class StopForward(Exception):
    """Raised inside a forward pass when no later block is needed; whoever asked for it catches it."""


class RunHooks(ABC):
    """What observes the evaluations of one transformer, during a `with` block.

    Args:
        transformer: of diffusers; not compiled while it is observed, see `eager`.
        observe: called with the arguments of each evaluation of the transformer, by name; returns the observed rows
            of its batch, or None. Where a pipeline evaluates its prompt and its negative prompt in one batch, the
            prompt's rows are the last.
        on_problem: called with the reason why an evaluation could not be observed to its end.

    Raises:
        UserError: on entering a transformer that is observed already, by this thread or another, or one of whose
            layers something else has taken the place.
    """

    def __init__(self, transformer: nn.Module, observe: Observe, on_problem: Callable[[str], None]) -> None:
        self._transformer: Any = eager(transformer)
        self._observe = observe
        self._on_problem = on_problem
        self._undo = ExitStack()

    def __enter__(self: _Self) -> _Self:
        with _ENTRY, ExitStack() as undo:
            _refuse_double_entry(self._transformer)
            undo.callback(self._reset)

            def hook(register: Callable[..., Any], call: Callable[..., None], **options: Any) -> None:
                undo.callback(register(_only_in(self, call), **options).remove)

            hook(self._transformer.register_forward_pre_hook, self._on_evaluation, with_kwargs=True)
            self._install(hook, undo)
            undo.enter_context(own_run(self))
            self._undo = undo.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._undo.close()

    def _reset(self) -> None:
        """Forget the evaluation: its tensors are freed."""
        self._rows: slice | None = None  # observed in this evaluation
        self._evaluation: Arguments = {}

    @abstractmethod
    def _install(self, hook: Hook, undo: ExitStack) -> None:
        """Put the hooks on the layers."""

    def _on_evaluation(self, module: nn.Module, args: Any, kwargs: Any) -> None:
        self._reset()
        self._evaluation = named(module, args, kwargs)
        self._rows = self._observe(self._evaluation)

    @contextmanager
    def _looking(self) -> Iterator[None]:
        """End the observation of this evaluation where looking at it fails; running out of memory is an error as ever.

        Never put it around the model's own work, or around what was called back.
        """
        try:
            yield
        except torch.cuda.OutOfMemoryError:
            raise
        except Exception as error:
            self._end(reason_of(error))

    def _end(self, reason: str) -> None:
        self._reset()
        self._on_problem(reason)

    def _replaced(self, layer: str, outermost: nn.Module, error: Exception) -> UserError:
        """What to say of a layer that lacks a part to look at."""
        return UserError(
            f"{layer} of this {type(self._transformer).__name__} is a {type(outermost).__name__} "
            f"whose attention cannot be observed ({error}): something has replaced it or its parts. "
            "Record the model before that is done."
        )


def _only_in(run: RunHooks, call: Callable[..., None]) -> Callable[..., None]:
    """A hook that does nothing in other threads.

    There torch may have looked it up before it was removed, and then calls it without the keywords.
    """

    def hook(*arguments: Any) -> None:
        if is_own(run):
            call(*arguments)

    hook.run = run  # type: ignore[attr-defined]
    return hook


def _refuse_double_entry(transformer: nn.Module) -> None:
    if any(isinstance(getattr(hook, "run", None), RunHooks) for hook in list(transformer._forward_pre_hooks.values())):
        raise UserError(
            "This transformer is recording concepts already. Leave the first recording's `with` block before "
            "entering another, also in other threads, or record both concept lists in one run."
        )
