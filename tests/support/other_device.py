"""A device to test with where there is no GPU: real numbers, and an error where two devices meet.

Tensors on it say that they are on a second CPU, and hold their values on the first. As on a GPU, an operation on
tensors of both devices is refused, except with CPU tensors that have no axes or are indices.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

DEVICE = torch.device("cpu", 1)
_CROSS = (torch.ops.aten.copy_.default, torch.ops.aten.index.Tensor)  # take tensors of both, as on a GPU


class _OnDevice(Tensor):
    """A tensor on the device."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> _OnDevice:
        layout = {"strides": held.stride(), "storage_offset": held.storage_offset(), "dtype": held.dtype}
        made = Tensor._make_wrapper_subclass(cls, held.shape, **layout, device=DEVICE)  # type: ignore[attr-defined]
        made.held = held
        return made  # type: ignore[no-any-return]

    @classmethod
    def __torch_dispatch__(cls, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(operation, args, kwargs or {})


class OtherDevice(TorchDispatchMode):
    """Within this context `DEVICE` works.

    Attributes:
        operations: names of those that ran on it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.operations: set[str] = set()

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if any(isinstance(leaf, _OnDevice) for leaf in tree_leaves((args, kwargs))):
            self.operations.add(operation.overloadpacket.__name__.lstrip("_"))
        return _run(operation, args, kwargs or {})


def _run(operation: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
    here = [tensor for tensor in tensors if isinstance(tensor, _OnDevice)]
    elsewhere = [tensor for tensor in tensors if not isinstance(tensor, _OnDevice) and tensor.ndim]
    if here and elsewhere and operation not in _CROSS:
        raise RuntimeError(f"{operation}: expected all tensors to be on one device, got {DEVICE} and the CPU.")
    wanted = kwargs.get("device")
    kwargs = {**kwargs, "device": torch.device("cpu")} if wanted is not None else kwargs
    held_args, held_kwargs = tree_map_only(_OnDevice, lambda tensor: tensor.held, (args, kwargs))
    found = operation(*held_args, **held_kwargs)
    if operation._schema.is_mutable:
        return kwargs.get("out", args[0])
    stays = torch.device(wanted) == DEVICE if wanted is not None else bool(here)
    return tree_map_only(Tensor, _OnDevice, found) if stays else found
