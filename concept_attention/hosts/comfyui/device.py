"""Work after sampling on ComfyUI's device, where that works."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, TypeVar

import comfy.model_management
import torch

from .guard import is_out_of_memory

logger = logging.getLogger("concept_attention")
Result = TypeVar("Result")


def on_torch_device(compute: Callable[..., Result], *args: Any, **options: Any) -> Result:
    """Call a function that takes a `device` with ComfyUI's own.

    Where that one has too little memory left beside the models, or lacks an operation, the CPU does the work.
    """
    device = comfy.model_management.get_torch_device()
    try:
        return compute(*args, **options, device=device)
    except Exception as error:
        if device == torch.device("cpu") or not (is_out_of_memory(error) or isinstance(error, NotImplementedError)):
            raise
        logger.info("Computed on the CPU: %s", error)
    comfy.model_management.soft_empty_cache()  # not before the error has let go of its tensors
    return compute(*args, **options, device="cpu")
