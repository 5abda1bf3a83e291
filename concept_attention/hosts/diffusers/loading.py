"""Finding and loading a Flux pipeline: the embedded landscape model, a local folder, or a hub id."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from diffusers import FluxPipeline
from diffusers.utils import logging as diffusers_logging
from safetensors import SafetensorError
from transformers.utils import logging as transformers_logging

from ...tiny import MODEL_FOLDER

TINY = "tiny"
NAMES = {
    TINY: str(MODEL_FOLDER),
    "flux-schnell": "black-forest-labs/FLUX.1-schnell",
    "flux-dev": "black-forest-labs/FLUX.1-dev",
}
Offload = Literal["none", "model", "sequential"]
DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
# What diffusers and transformers raise on folders that lack something, hold something else, or are damaged.
UNREADABLE = (OSError, ValueError, TypeError, AttributeError, KeyError, RuntimeError, ImportError, SafetensorError)


@dataclass(frozen=True)
class Defaults:
    """What a model is best run with where the user says nothing.

    Attributes:
        side: pixels; pictures have about `side` squared.
        steps: sampler steps.
        guidance: distilled guidance, only read by models that embed it.
        cfg: classifier-free guidance scale, 1 is off.
        max_tokens: length that prompts and concepts are padded to.
    """

    side: int
    steps: int
    guidance: float
    cfg: float
    max_tokens: int


def is_tiny(pipeline: Any) -> bool:
    """Whether this is the embedded landscape model."""
    return Path(_origin(pipeline)) == MODEL_FOLDER


def model_name(pipeline: Any) -> str:
    """What the user called the model: `tiny`, a folder, or a hub id; empty if it was never loaded from anywhere."""
    return TINY if is_tiny(pipeline) else _origin(pipeline)


def _origin(pipeline: Any) -> str:
    """Folder or hub id the pipeline was loaded from; one that was put together in memory has none."""
    return str(pipeline.config.get("_name_or_path", ""))


def defaults_for(pipeline: Any) -> Defaults:
    """What to run a pipeline with; texts are padded no further than its own tokenizer says."""
    own = pipeline.tokenizer_2.model_max_length
    if is_tiny(pipeline):
        return Defaults(side=256, steps=40, guidance=0.0, cfg=3.0, max_tokens=own)
    if pipeline.transformer.config.guidance_embeds:
        return Defaults(side=1024, steps=28, guidance=3.5, cfg=1.0, max_tokens=min(512, own))
    return Defaults(side=1024, steps=4, guidance=0.0, cfg=1.0, max_tokens=min(256, own))


def pick_device(device: str) -> str:
    """`auto` is the first of cuda, mps and cpu that there is."""
    if device != "auto":
        return device
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def load_pipeline(
    model: str = TINY, device: str = "auto", dtype: str = "auto", offload: Offload = "none"
) -> FluxPipeline:
    """Load a Flux 1 pipeline.

    Args:
        model: `tiny`, `flux-schnell`, `flux-dev`, a diffusers folder, or a hub id.
        device: `auto`, `cpu`, `cuda`, `cuda:1`, `mps`.
        dtype: `auto` (float32 for `tiny`, else bfloat16), `float32`, `float16`, `bfloat16`.
        offload: `none`, `model` or `sequential`: diffusers' own offloading to the CPU. On the CPU there is nothing to
            offload, and all are `none`.

    Raises:
        ValueError: if the model is no Flux 1 pipeline or cannot be read, or an option does not exist.
    """
    if dtype not in ("auto", *DTYPES):
        raise ValueError(f"dtype {dtype!r} does not exist. Choose one of auto, {', '.join(DTYPES)}.")
    if offload not in get_args(Offload):
        raise ValueError(f"offload {offload!r} does not exist. Choose one of {', '.join(get_args(Offload))}.")
    device = pick_device(device)
    _check_device(device)
    wanted = DTYPES.get(dtype, torch.float32 if model == TINY else torch.bfloat16)
    source = NAMES.get(model, model)
    _check_folder(Path(source))
    try:
        with _quiet():
            pipeline = FluxPipeline.from_pretrained(source, torch_dtype=wanted)
    except UNREADABLE as error:
        raise ValueError(
            f"Model {model!r} could not be loaded as a Flux 1 pipeline: {_reason(error)} "
            "Give `tiny`, a diffusers folder with a FluxPipeline, or a hub id you have access to."
        ) from error
    _place(pipeline, device, offload)
    return pipeline


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep loading from filling the terminal with bars and advice that no user can act on."""
    logs = (diffusers_logging, transformers_logging)
    before = [(log, log.get_verbosity(), log.is_progress_bar_enabled()) for log in logs]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        for log in logs:
            log.set_verbosity_error()
            log.disable_progress_bar()
        try:
            yield
        finally:
            for log, level, bars in before:
                log.set_verbosity(level)
                if bars:
                    log.enable_progress_bar()


def _check_device(device: str) -> None:
    """Say that a device cannot be used before gigabytes are read for it."""
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(
            f"Device {device!r} cannot be used: {_reason(error)} Choose auto, cpu, cuda or mps."
        ) from error


def _place(pipeline: FluxPipeline, device: str, offload: Offload) -> None:
    try:
        if offload == "none" or device == "cpu":
            pipeline.to(device)
        elif offload == "model":
            pipeline.enable_model_cpu_offload(device=device)
        else:
            pipeline.enable_sequential_cpu_offload(device=device)
    except torch.cuda.OutOfMemoryError:
        raise  # nothing is wrong with what was asked for
    except (RuntimeError, ImportError) as error:
        raise ValueError(
            f"The model cannot be put on {device!r}: {_reason(error)} Choose another `device` or `offload`."
        ) from error


def _reason(error: BaseException) -> str:
    """The first line of an error, as a sentence."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].rstrip(".: ") + "."


def _check_folder(folder: Path) -> None:
    """Say what is wrong with a local folder before diffusers reads gigabytes of it."""
    if not folder.exists():
        return  # a hub id
    index = folder / "model_index.json"
    if not index.is_file():
        raise ValueError(f"{folder} is no diffusers model: it has no model_index.json. Give the folder that has.")
    try:
        name = json.loads(index.read_text(encoding="utf-8")).get("_class_name")
    except (ValueError, AttributeError) as error:
        raise ValueError(f"{index} cannot be read: {error}. Get the model again.") from error
    if name != "FluxPipeline":
        raise ValueError(f"{folder} holds a {name}, expected a FluxPipeline (Flux 1). Choose another model.")
