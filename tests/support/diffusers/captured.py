"""A fixture that keeps what a transformer is called with."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

import pytest
from torch import Tensor


@pytest.fixture
def captured(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], list[dict[str, Any]]]:
    """Keep the arguments of every evaluation of a transformer, as its twins take them."""

    def capture(transformer: Any) -> list[dict[str, Any]]:
        calls: list[dict[str, Any]] = []
        forward = transformer.forward

        names = list(inspect.signature(forward).parameters)

        @functools.wraps(forward)  # some pipelines look at its parameters
        def keeping(*args: Any, **kwargs: Any) -> Any:
            given = {**dict(zip(names, args, strict=False)), **kwargs}
            calls.append({k: v.clone() if isinstance(v, Tensor) else v for k, v in given.items()})
            return forward(*args, **kwargs)

        monkeypatch.setattr(transformer, "forward", keeping)
        return calls

    return capture
