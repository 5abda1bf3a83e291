"""ComfyUI inside the test process: its modules and ours side by side, and small models that run."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from ...support.comfyui import boot
from ...support.comfyui.tiny import make_cond, make_latent, sample


def test_modules_of_the_same_name_are_comfyuis(comfy_host: boot.Host) -> None:
    for name in ("nodes", "execution", "utils"):
        file = importlib.import_module(name).__file__
        assert file is not None and Path(file).is_relative_to(comfy_host.root)


def test_the_command_line_is_pytests_again_and_the_host_runs_on_the_cpu(comfy_host: boot.Host) -> None:
    import comfy.cli_args

    assert comfy.cli_args.args.cpu
    assert sys.argv[1:] != ["--cpu"]


def test_the_version_is_the_hosts_own(comfy_host: boot.Host) -> None:
    import comfyui_version

    assert comfy_host.version == comfyui_version.__version__
    assert comfy_host.release >= (0, 19)


def test_a_named_folder_without_comfyui_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(boot.VARIABLE, str(tmp_path))
    with pytest.raises(ValueError, match="COMFYUI_PATH is .* holds no ComfyUI"):
        boot.find_host()


def test_without_a_host_the_reason_says_how_to_get_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(boot.VARIABLE, raising=False)
    monkeypatch.setattr(boot, "PROJECT", tmp_path / "project")
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    with pytest.raises(boot.HostMissing, match="needs ComfyUI.*COMFYUI_PATH"):
        boot.find_host()


@pytest.mark.parametrize("options", [{}, {"guidance": True, "heads": 2}, {"joint_blocks": 4, "single_blocks": 0}])
def test_a_tiny_flux_samples_as_its_seed_says(tiny_flux: Callable[..., Any], options: dict[str, Any]) -> None:
    model = tiny_flux(**options)
    first = sample(model, cfg=2.0, latent=torch.zeros_like(make_latent(batch=2, height=6, width=10)))
    assert first.shape == (2, 16, 6, 10) and bool(first.isfinite().all())
    assert torch.equal(first, sample(tiny_flux(**options), cfg=2.0, latent=torch.zeros(2, 16, 6, 10)))
    other = sample(model, positive=make_cond(seed=9), cfg=2.0, latent=torch.zeros(2, 16, 6, 10))
    assert float((first - other).abs().max()) > 0.01  # the prompt matters


def test_the_tiny_clip_gives_what_the_tiny_flux_reads(tiny_clip: Any, tiny_flux: Callable[..., Any]) -> None:
    cond = tiny_clip.encode_from_tokens_scheduled(tiny_clip.tokenize("a house on a hill"))
    assert cond[0][0].shape == (1, 256, 48) and cond[0][1]["pooled_output"].shape == (1, 32)
    assert bool(sample(tiny_flux(), positive=cond, steps=1).isfinite().all())
