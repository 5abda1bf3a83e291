"""The model named by `--model`: loading it, and what summaries say about it."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from ..embedded import TAUGHT
from ..hosts.architecture import Architecture
from ..hosts.collector import versions
from ..hosts.diffusers.adapters import described
from ..hosts.diffusers.loading import load_pipeline
from ..hosts.diffusers.networks import network_of
from ..hosts.diffusers.pipelines.request import is_tiny
from ..hosts.diffusers.recorder import HOST
from .progress import shows_progress


def load(arguments: Namespace) -> Any:
    """Load the pipeline of `--model`, `--device`, `--dtype` and `--offload`, with its own progress bars off.

    Those of a download are shown, like all progress, on terminals and unless it should be quiet.
    """
    quiet = not shows_progress(arguments.quiet)
    pipeline = load_pipeline(arguments.model, arguments.device, arguments.dtype, arguments.offload, quiet)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def describe(pipeline: Any) -> Architecture:
    """The architecture of the pipeline's transformer."""
    return described(network_of(pipeline))


def model_facts(arguments: Namespace, pipeline: Any) -> dict[str, Any]:
    """The model's part of a summary, ready for JSON; its note is a caution about this model's maps, or ""."""
    return {
        "model": arguments.model,
        "device": str(pipeline._execution_device),
        "dtype": str(network_of(pipeline).dtype).removeprefix("torch."),
        "offload": arguments.offload,
        "versions": versions(*HOST),
        "note": TAUGHT if is_tiny(pipeline) else "",
    }
