"""Fixtures of the authors' interfaces: a small random Flux pipeline."""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest

from ..support.diffusers.captured import captured as captured
from ..support.diffusers.small_pipelines import make_flux_pipeline
from ..support.diffusers.tiny_transformers import make_flux

# Without the host there is nothing to test here.
collect_ignore_glob = [] if importlib.util.find_spec("diffusers") else ["*"]


@pytest.fixture
def schnell(random_pipeline: Any) -> Any:
    """A FluxPipeline around a fresh small transformer without embedded guidance."""
    return make_flux_pipeline(random_pipeline, make_flux())
