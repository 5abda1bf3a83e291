"""Fixtures of the diffusers host: small Flux models and pipelines, and the arguments of their evaluations."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any

import pytest
from torch import Tensor

from ...support.diffusers.tiny_transformers import make_flux

# Without the host there is nothing to test here, nor in the folders below: a star also matches slashes.
collect_ignore_glob = [] if importlib.util.find_spec("diffusers") else ["*"]


@pytest.fixture(params=[False, True], ids=["schnell", "dev"])
def transformer(request: pytest.FixtureRequest) -> Any:
    """A fresh small Flux, without and with embedded guidance."""
    return make_flux(guidance=request.param)


@pytest.fixture
def pipeline(transformer: Any, random_pipeline: Any) -> Any:
    """A FluxPipeline around that transformer; its other parts are shared."""
    return _pipeline_with(random_pipeline, transformer)


@pytest.fixture
def schnell(random_pipeline: Any) -> Any:
    """As `pipeline`, without embedded guidance only."""
    return _pipeline_with(random_pipeline, make_flux())


def _pipeline_with(random_pipeline: Any, transformer: Any) -> Any:
    from diffusers import FluxPipeline

    pipeline = FluxPipeline(**{**random_pipeline.components, "transformer": transformer})
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.fixture
def captured(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], list[dict[str, Any]]]:
    """Keep the arguments of every evaluation of a transformer, as its twins take them."""

    def capture(transformer: Any) -> list[dict[str, Any]]:
        calls: list[dict[str, Any]] = []
        forward = transformer.forward

        def keeping(**kwargs: Any) -> Any:
            calls.append({k: v.clone() if isinstance(v, Tensor) else v for k, v in kwargs.items()})
            return forward(**kwargs)

        monkeypatch.setattr(transformer, "forward", keeping)
        return calls

    return capture
