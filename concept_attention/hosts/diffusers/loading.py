"""Finding and loading a pipeline: an embedded landscape model, a local folder, or a hub id."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from diffusers import DiffusionPipeline
from diffusers.utils import logging as diffusers_logging
from safetensors import SafetensorError
from transformers.utils import logging as transformers_logging

from ...choices import DTYPE_NAMES, OFFLOADS, Offload, check_choice
from ...embedded import EMBEDDED
from ...errors import UserError
from .pipelines.request import TINY, Defaults
from .registry import FAMILIES, family_named, family_of, supported_pipelines

DTYPES: dict[str, torch.dtype] = {name: getattr(torch, name) for name in DTYPE_NAMES if name != "auto"}
# What diffusers and transformers raise on folders that lack something, hold something else, or are damaged.
UNREADABLE = (OSError, ValueError, TypeError, AttributeError, KeyError, RuntimeError, ImportError, SafetensorError)


def names() -> dict[str, str]:
    """What can be loaded by a short name: the embedded models' folders, and hub ids."""
    embedded = {name: str(folder) for name, folder in EMBEDDED.items()}
    return {**embedded, **{name: hub for family in FAMILIES for name, hub in family.names.items()}}


def defaults_for(pipeline: Any) -> Defaults:
    """What to run a pipeline with if the user does not say."""
    return family_of(pipeline).defaults(pipeline)


def pick_device(device: str) -> str:
    """The device that `auto` stands for: the first of cuda, mps and cpu that exists; other names stay."""
    if device != "auto":
        return device
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def load_pipeline(model: str = TINY, device: str = "auto", dtype: str = "auto", offload: Offload = "none") -> Any:
    """Load a pipeline of any family in `registry`.

    Args:
        model: `tiny`, another of `names()`, a diffusers folder, or a hub id.
        device: `auto`, `cpu`, `cuda`, `cuda:1`, `mps`.
        dtype: `auto` (float32 for the embedded models, else bfloat16), `float32`, `float16`, `bfloat16`.
        offload: `none`, `model` or `sequential`: diffusers' own offloading to the CPU. On the CPU there is nothing to
            offload, and all are `none`.

    Returns:
        The pipeline, on its device.

    Raises:
        UserError: if the model is of no supported family, cannot be read or does not fit the device, or an option
            does not exist.

    Example:
        >>> from concept_attention.hosts.diffusers import load_pipeline
        >>> pipeline = load_pipeline("tiny", device="cpu")
        >>> type(pipeline).__name__, pipeline.transformer.dtype
        ('FluxPipeline', torch.float32)
    """
    check_choice("dtype", dtype, DTYPE_NAMES)
    check_choice("offload", offload, OFFLOADS)
    device = pick_device(device)
    _check_device(device)
    wanted = DTYPES.get(dtype, torch.float32 if model in EMBEDDED else torch.bfloat16)
    source = names().get(model, model)
    _check_folder(Path(source))
    try:
        with _quiet():
            pipeline = DiffusionPipeline.from_pretrained(source, torch_dtype=wanted)
    except UNREADABLE as error:
        raise UserError(
            f"Model {model!r} could not be loaded: {_reason(error)} "
            "Give `tiny`, a diffusers folder, or a hub id you have access to."
        ) from error
    family_of(pipeline)  # a hub id may be any pipeline's
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
        if torch.empty(0, device=device).is_meta:
            raise RuntimeError("it holds shapes and no numbers")
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"Device {device!r} cannot be used: {_reason(error)} Choose auto, cpu, cuda or mps.") from error


def _place(pipeline: Any, device: str, offload: Offload) -> None:
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
        raise UserError(
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
        raise UserError(f"{folder} is no diffusers model: it has no model_index.json. Give the folder that has.")
    try:
        name = json.loads(index.read_text(encoding="utf-8")).get("_class_name")
    except (ValueError, AttributeError) as error:
        raise UserError(f"{index} cannot be read: {error}. Get the model again.") from error
    if family_named(name) is None:
        raise UserError(f"{folder} holds a {name}, expected one of {supported_pipelines()}. Choose another model.")
