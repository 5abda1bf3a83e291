"""Finding and loading a pipeline: an embedded landscape model, a local folder, or a hub id."""

from __future__ import annotations

import contextlib
import difflib
import json
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from diffusers.utils import logging as diffusers_logging
from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars
from safetensors import SafetensorError
from transformers.utils import logging as transformers_logging

from ...choices import DTYPE_NAMES, OFFLOADS, PRECISIONS, Offload, check_choice
from ...embedded import FOLDERS
from ...errors import UserError
from ..device import pick_device
from .hub import INDEXES, fetch_index, first_line, why_not
from .pipelines.family import PipelineFamily
from .pipelines.request import TINY, Defaults
from .registry import FAMILIES, family_named, family_of, supported_pipelines

DTYPES: dict[str, torch.dtype] = {name: getattr(torch, name) for name in DTYPE_NAMES if name != "auto"}
# What diffusers and transformers raise on folders that lack something, hold something else, or are damaged.
UNREADABLE = (OSError, ValueError, TypeError, AttributeError, KeyError, RuntimeError, ImportError, SafetensorError)


def names() -> dict[str, str]:
    """What can be loaded by a short name: the embedded models' folders, and hub ids."""
    embedded = {name: str(folder) for name, folder in FOLDERS.items()}
    return {**embedded, **{name: hub for family in FAMILIES for name, hub in family.names.items()}}


def defaults_for(pipeline: Any) -> Defaults:
    """What to run a pipeline with if the user does not say."""
    return family_of(pipeline).defaults(pipeline)


def score_dtype(dtype: str | torch.dtype) -> torch.dtype:
    """The dtype of the kept scores, by its name or torch's own.

    Raises:
        UserError: if it is neither float32 nor float16.
    """
    name = str(dtype).removeprefix("torch.")
    check_choice("dtype", name, PRECISIONS)
    return DTYPES[name]


def load_pipeline(
    model: str | os.PathLike[str] = TINY,
    device: str = "auto",
    dtype: str | torch.dtype = "auto",
    offload: Offload = "none",
    quiet: bool = False,
) -> Any:
    """Load a pipeline of any family in `registry`: one that makes something of a prompt alone.

    Of a modular one, Flux 3 and MiniMax-H3, only the parts that this needs are fetched and loaded.

    Args:
        model: `tiny`, another of `names()`, a diffusers folder, or a hub id. Of a hub id, only its index is fetched
            before it is known that the model is supported.
        device: `auto`, `cpu`, `cuda`, `cuda:1`, `mps`.
        dtype: `auto` (float32 for the embedded models, else bfloat16), `float32`, `float16`, `bfloat16`, or torch's.
        offload: `none`, `model` or `sequential`: diffusers' own offloading to the CPU. On the CPU there is nothing to
            offload, and all are `none`; modular pipelines have no `sequential`.
        quiet: no progress bars of a download.

    Returns:
        The pipeline, on its device.

    Raises:
        UserError: if the model is of no supported family, cannot be got or read or does not fit the device, or an
            option does not exist.

    Example:
        >>> from concept_attention.hosts.diffusers import load_pipeline
        >>> pipeline = load_pipeline("tiny", device="cpu")
        >>> type(pipeline).__name__, pipeline.transformer.dtype
        ('FluxPipeline', torch.float32)
    """
    dtype = str(dtype).removeprefix("torch.")
    check_choice("dtype", dtype, DTYPE_NAMES)
    check_choice("offload", offload, OFFLOADS)
    device = pick_device(device)
    _check_device(device)
    model = os.fspath(model)
    wanted = DTYPES.get(dtype, torch.float32 if model in FOLDERS else torch.bfloat16)
    with _hushed(bars=not quiet):
        source, family = _find(str(names().get(model, model)))
        try:
            pipeline = family.load(source, wanted)
        except Exception as error:
            if not Path(source).is_dir() and (reason := why_not(source, error)):
                raise UserError(reason) from error
            if not isinstance(error, UNREADABLE):
                raise
            raise UserError(
                f"Model {model!r} could not be loaded: {_reason(error)} "
                "Give `tiny`, a diffusers folder, or a hub id you have access to."
            ) from error
    _place(pipeline, family, device, offload)
    return pipeline


@contextmanager
def _hushed(bars: bool) -> Iterator[None]:
    """Keep loading from filling the terminal with advice that no user can act on, and with bars but a download's."""
    logs = (diffusers_logging, transformers_logging)
    before = [(log, log.get_verbosity(), log.is_progress_bar_enabled()) for log in logs]
    hub_bars = not are_progress_bars_disabled()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        for log in logs:
            log.set_verbosity_error()
            log.disable_progress_bar()  # transformers turns off the hub's as well
        if bars and hub_bars:
            enable_progress_bars()
        try:
            yield
        finally:
            for log, level, enabled in before:
                log.set_verbosity(level)
                if enabled:
                    log.enable_progress_bar()
            if hub_bars:
                enable_progress_bars()
            elif not are_progress_bars_disabled():
                disable_progress_bars()


def _check_device(device: str) -> None:
    """Say that a device cannot be used before gigabytes are read for it."""
    try:
        if torch.empty(0, device=device).is_meta:
            raise RuntimeError("it holds shapes and no numbers")
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"Device {device!r} cannot be used: {_reason(error)} Choose auto, cpu, cuda or mps.") from error


def _place(pipeline: Any, family: PipelineFamily, device: str, offload: Offload) -> None:
    try:
        if offload == "none" or device == "cpu":
            pipeline.to(device)
        else:
            family.offload(pipeline, device, offload)
    except torch.cuda.OutOfMemoryError:
        raise  # nothing is wrong with what was asked for
    except (RuntimeError, ImportError) as error:
        raise UserError(
            f"The model cannot be put on {device!r}: {_reason(error)} Choose another `device` or `offload`."
        ) from error


def _reason(error: BaseException) -> str:
    """The first line of an error, as a sentence."""
    return first_line(error) + "."


def _find(model: str) -> tuple[str, PipelineFamily]:
    """The folder, or the hub id, of a model, and the family that its index names; nothing else is read of it.

    Raises:
        UserError: if it is neither, or of no supported family.
    """
    with contextlib.suppress(RuntimeError):  # no such user
        folder = Path(model).expanduser()
        if folder.exists():
            found = next((name for name in INDEXES if (folder / name).is_file()), INDEXES[0])
            return str(folder), _family_in(folder, folder / found)
    if model.startswith((".", "/", "~")) or "\\" in model or model.count("/") > 1 or Path(model).is_absolute():
        raise UserError(f"There is no folder {model}. Check the path.")
    if "/" not in model:
        close = difflib.get_close_matches(model.casefold(), names(), 1)
        meant = f" Did you mean {close[0]}?" if close else ""
        raise UserError(
            f"There is no model {model!r}: it is no folder, no hub id (owner/name), and none of {', '.join(names())}."
            f"{meant or ' Choose another.'}"
        )
    return model, _family_in(model, fetch_index(model))


def _family_in(model: str | Path, index: Path) -> PipelineFamily:
    """The family that an index names; what is wrong with a model is said before gigabytes of it are read."""
    if not index.is_file():
        raise UserError(f"{model} is no diffusers model: it has no {index.name}. Give the folder that has.")
    try:
        name = json.loads(index.read_text(encoding="utf-8")).get("_class_name")
    except (ValueError, AttributeError) as error:
        raise UserError(f"{index} cannot be read: {error}. Get the model again.") from error
    family = family_named(name)
    if family is None:
        raise UserError(f"{model} holds a {name}, expected one of {supported_pipelines()}. Choose another model.")
    return family
