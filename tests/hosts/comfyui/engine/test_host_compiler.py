"""Recorded runs in ComfyUI 0.34 and newer, which lays out a network's memory once and uses it again in every step."""

from __future__ import annotations

import contextlib
import threading
from typing import Any

import comfy.cli_args
import pytest
import torch

from concept_attention.hosts.comfyui.engine.host_compiler import without_host_compiler

from ....support.comfyui.recording_spy import recording_model, sample_and_record
from ....support.comfyui.tiny import make_flux, sample

ARGS = comfy.cli_args.args


class Layouts:
    """Stands in for ComfyUI's compiler: what else uses memory in a layout breaks it, and an error leaves it open.

    Attributes:
        used: passes of the network in a layout.
    """

    def __init__(self, network: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        self.used = 0
        self._network = network
        self._forward = network.forward
        self._open: set[int] = set()  # by thread
        monkeypatch.setattr(network, "forward", self)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if ARGS.disable_comfy_compiler:
            return self._forward(*args, **kwargs)
        own = threading.get_ident()
        if own in self._open or any(block._forward_pre_hooks for block in self._network.double_blocks):
            raise RuntimeError("aimdo memory compile error")
        self._open.add(own)
        output = self._forward(*args, **kwargs)
        self._open.remove(own)
        self.used += 1
        return output


@pytest.fixture(autouse=True)
def switched_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ARGS, "disable_comfy_compiler", False, raising=False)


def test_a_recorded_run_is_sampled_without_the_compiler_and_later_ones_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    model = make_flux(joint_blocks=2, single_blocks=1)
    layouts = Layouts(model.model.diffusion_model, monkeypatch)
    plain = sample(model, steps=2)
    passes = layouts.used
    latent, result = sample_and_record(model, steps=2)
    assert result.recording is not None, result.reason
    assert result.recording.steps == (0, 1) and torch.equal(latent, plain)
    assert passes > 0 and layouts.used == passes and ARGS.disable_comfy_compiler is False
    assert torch.equal(sample(model, steps=2), plain) and layouts.used == 2 * passes


def test_passes_that_end_early_leave_no_layout_open(monkeypatch: pytest.MonkeyPatch) -> None:
    model = make_flux(joint_blocks=2, single_blocks=1)
    layouts = Layouts(model.model.diffusion_model, monkeypatch)
    _, result = sample_and_record(model, stop_after_last_layer=True, steps=3)
    assert result.recording is not None, result.reason
    assert result.recording.steps == (0, 1, 2)
    sample(model, steps=1)
    assert layouts.used > 0


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_the_compiler_is_on_again_after_an_error(error: type[BaseException]) -> None:
    def fail(*_: Any) -> None:
        assert ARGS.disable_comfy_compiler is True
        raise error

    patched = recording_model(make_flux(joint_blocks=2, single_blocks=1), [])
    with pytest.raises(error):
        sample(patched, steps=1, callback=fail)
    assert ARGS.disable_comfy_compiler is False


@pytest.mark.parametrize("chosen", [False, True])
def test_of_several_runs_the_last_one_sets_what_was_chosen(chosen: bool) -> None:
    ARGS.disable_comfy_compiler = chosen
    begun, go_on = threading.Event(), threading.Event()

    def run() -> None:
        with without_host_compiler():
            begun.set()
            assert go_on.wait(20)

    other = threading.Thread(target=run)
    with without_host_compiler(), without_host_compiler():
        other.start()
        assert begun.wait(20)
    assert ARGS.disable_comfy_compiler is True  # the other one still runs
    go_on.set()
    other.join()
    assert ARGS.disable_comfy_compiler is chosen


def test_a_comfyui_without_a_compiler_gets_no_switch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(ARGS, "disable_comfy_compiler")
    with without_host_compiler():
        assert not hasattr(ARGS, "disable_comfy_compiler")
    with contextlib.suppress(ZeroDivisionError), without_host_compiler():
        raise ZeroDivisionError
    assert not hasattr(ARGS, "disable_comfy_compiler")
