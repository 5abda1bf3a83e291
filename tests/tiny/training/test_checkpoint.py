"""Checkpoints are whole or not there, and carry an optimizer over."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from concept_attention.tiny.training import checkpoint

CPU = torch.device("cpu")


def test_loading_gives_back_what_was_saved(tmp_path: Path) -> None:
    tensors = {"a.b": torch.randn(3, 4)}
    checkpoint.save(tmp_path, {"weights": tensors, "other": {"x": torch.arange(3)}}, {"steps": 7})
    groups, progress = checkpoint.load(tmp_path, CPU) or pytest.fail("no checkpoint")
    assert torch.equal(groups["weights"]["a.b"], tensors["a.b"])
    assert groups["other"]["x"].tolist() == [0, 1, 2]
    assert progress == {"steps": 7}


def test_an_empty_folder_has_no_checkpoint(tmp_path: Path) -> None:
    assert checkpoint.load(tmp_path, CPU) is None


def test_a_failed_save_leaves_the_previous_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint.save(tmp_path, {"weights": {"a": torch.zeros(2)}}, {"steps": 1})

    def fail(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint, "save_file", fail)
    with pytest.raises(KeyboardInterrupt):
        checkpoint.save(tmp_path, {"weights": {"a": torch.ones(2)}}, {"steps": 2})
    groups, progress = checkpoint.load(tmp_path, CPU) or pytest.fail("no checkpoint")
    assert progress["steps"] == 1
    assert groups["weights"]["a"].tolist() == [0, 0]


def test_a_run_stopped_between_two_renames_still_has_its_old_checkpoint(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, {"weights": {"a": torch.zeros(2)}}, {"steps": 1})
    (tmp_path / checkpoint.FOLDER).rename(tmp_path / "checkpoint.old")
    found = checkpoint.load(tmp_path, CPU)
    assert found is not None and found[1]["steps"] == 1


@pytest.mark.parametrize("kind", [torch.optim.AdamW, torch.optim.Muon])
def test_a_restored_optimizer_goes_on_as_the_first_would(kind: type[torch.optim.Optimizer]) -> None:
    torch.manual_seed(0)
    first = torch.nn.Parameter(torch.randn(6, 6))
    optimizer = kind([first], lr=0.1)
    gradients = torch.randn(4, 6, 6)
    for gradient in gradients[:3]:
        first.grad = gradient.clone()
        optimizer.step()
    others = {name: torch.nn.Parameter(first.detach().clone()) for name in ("restored", "fresh")}
    optimizers = {name: kind([parameter], lr=0.1) for name, parameter in others.items()}
    checkpoint.restore_optimizer(optimizers["restored"], checkpoint.optimizer_tensors(optimizer))
    for parameter, one in ((first, optimizer), *((others[name], optimizers[name]) for name in others)):
        parameter.grad = gradients[3].clone()
        one.step()
    off = {name: float((parameter - first).detach().abs().max()) for name, parameter in others.items()}
    assert off["restored"] < 0.02 < off["fresh"]  # moments are kept in bfloat16
