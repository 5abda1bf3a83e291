"""Checkpoints of a training run: a folder of safetensors files, replaced as a whole."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

FOLDER = "checkpoint"


def save(folder: Path, groups: Mapping[str, Mapping[str, Tensor]], progress: Mapping[str, Any]) -> None:
    """Write `groups` (file name to tensors) and `progress`; the previous checkpoint stays until then."""
    fresh, current, old = folder / "checkpoint.new", folder / FOLDER, folder / "checkpoint.old"
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    for name, tensors in groups.items():
        save_file({key: t.detach().cpu().contiguous() for key, t in tensors.items()}, fresh / f"{name}.safetensors")
    (fresh / "progress.json").write_text(json.dumps(progress, indent=1), encoding="utf-8")
    shutil.rmtree(old, ignore_errors=True)
    if current.exists():
        os.replace(current, old)
    os.replace(fresh, current)
    shutil.rmtree(old, ignore_errors=True)


def load(folder: Path, device: torch.device) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]] | None:
    """The newest complete checkpoint, or None."""
    for name in (FOLDER, "checkpoint.old"):
        current = folder / name
        if (current / "progress.json").exists():
            groups = {p.stem: load_file(p, device=str(device)) for p in current.glob("*.safetensors")}
            return groups, json.loads((current / "progress.json").read_text(encoding="utf-8"))
    return None


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """An optimizer's state as flat tensors, moments in bfloat16."""
    flat = {}
    for index, state in optimizer.state_dict()["state"].items():
        for key, value in state.items():
            tensor = torch.as_tensor(value)
            flat[f"{index}.{key}"] = tensor.bfloat16() if tensor.ndim else tensor
    return flat


def restore_optimizer(optimizer: torch.optim.Optimizer, flat: Mapping[str, Tensor]) -> None:
    """Load what `optimizer_tensors` gave into an optimizer."""
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in flat.items():
        index, _, key = name.partition(".")
        state.setdefault(int(index), {})[key] = tensor.float()
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
