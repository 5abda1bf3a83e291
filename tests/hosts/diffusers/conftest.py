"""Fixtures of the diffusers host: small Flux models and pipelines, and the arguments of their evaluations."""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest

from ...support.diffusers.captured import captured as captured
from ...support.diffusers.small_pipelines import make_flux_pipeline
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
    return make_flux_pipeline(random_pipeline, transformer)


@pytest.fixture
def schnell(random_pipeline: Any) -> Any:
    """As `pipeline`, without embedded guidance only."""
    return make_flux_pipeline(random_pipeline, make_flux())
