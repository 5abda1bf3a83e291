"""A recorded run never fails where the plain one works: what goes wrong in recording is a reason."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from concept_attention.hosts.comfyui import patching
from concept_attention.hosts.comfyui.adapters.double_stream import DoubleStream
from concept_attention.hosts.comfyui.adapters.flux import Flux
from concept_attention.hosts.comfyui.engine import live_preview, reading, run, session, stream
from concept_attention.hosts.comfyui.engine.settings import Settings
from concept_attention.hosts.comfyui.patching import patch_model
from concept_attention.recording.builder import RecordingBuilder

from ....support.comfyui.recording_spy import footprint, make_encoded, sample_and_record
from ....support.comfyui.settings import make_settings
from ....support.comfyui.tiny import make_flux, sample

OURS = [
    (Settings, "check"),
    (run, "RecordingSession"),
    (run, "_warn_of_size"),
    (run, "_with_callback"),
    (run, "versions"),
    (Settings, "records"),
    (session, "latent_size"),
    (session, "find_positive"),
    (session, "covered_indices"),
    (session, "prompt_regions"),
    (session, "running_eager"),
    (reading, "ConceptStream"),
    (session.PositivePrompts, "choose"),
    (session, "noise_level"),
    (session, "measure_geometry"),
    (session.ScoreAccumulator, "finish"),
    (session.Collector, "score"),
    (RecordingBuilder, "commit"),
    (RecordingBuilder, "build"),
    (stream, "named_arguments"),
    (stream, "with_argument"),
    (stream, "refuse_double_entry"),
    (stream, "target_tokens"),
    (Flux, "joint_blocks"),
    (Flux, "conditioning_modules"),
    (Flux, "token_slices"),
    (Flux, "prepare"),
    (Flux, "project_concepts"),
    (DoubleStream, "concept_qkv"),
    (DoubleStream, "update_concepts"),
]


def failing(error: type[BaseException]) -> Any:
    def fail(*_: Any, **__: Any) -> Any:
        raise error("on purpose")

    return fail


@pytest.fixture(scope="module")
def small() -> Any:
    return make_flux(joint_blocks=2, single_blocks=1)


@pytest.mark.parametrize("where, name", OURS, ids=lambda one: getattr(one, "__name__", one))
@pytest.mark.parametrize("cfg", [1.0, 4.0])
def test_an_error_in_recording_is_a_reason_and_the_latent_is_the_same(
    small: Any, where: Any, name: str, cfg: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, before = sample(small, cfg=cfg), footprint(small)
    monkeypatch.setattr(where, name, failing(TypeError))
    latent, result = sample_and_record(small, Settings(make_encoded()), cfg=cfg)
    assert torch.equal(latent, plain) and footprint(small) == before
    assert result.recording is None
    assert "ecording failed with TypeError: on purpose (the log has the details)" in result.reason


def test_an_error_in_one_step_leaves_the_others(small: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    level, calls = session.noise_level, iter(range(10))

    def once(*args: Any) -> float:
        if next(calls) == 1:
            raise TypeError("on purpose")
        return float(level(*args))

    monkeypatch.setattr(session, "noise_level", once)
    _, result = sample_and_record(small)
    assert result.recording is not None and result.recording.steps == (0, 2)
    assert result.recording.metadata["steps"] == "2 of 3 steps recorded"
    assert result.recording.metadata["troubles"].startswith("recording failed with TypeError: on purpose")


@pytest.mark.parametrize("where, name", [(session.Collector, "score"), (session, "latent_size"), (run, "versions")])
def test_running_out_of_memory_gets_through(small: Any, where: Any, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """ComfyUI frees memory then."""
    before = footprint(small)
    monkeypatch.setattr(where, name, failing(torch.cuda.OutOfMemoryError))
    with pytest.raises(torch.cuda.OutOfMemoryError):
        sample_and_record(small)
    assert footprint(small) == before


@pytest.mark.parametrize("name", ["_as_returned", "_unpack"])
def test_an_error_after_sampling_keeps_the_latent(small: Any, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = sample(small)
    monkeypatch.setattr(patching, name, failing(TypeError))
    assert torch.equal(sample(patch_model(small, make_settings())), plain)


@pytest.mark.parametrize("name", ["_paint_of", "attach"])
def test_an_error_in_the_preview_keeps_the_run(small: Any, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_preview.LivePreview, name, failing(TypeError))
    settings = Settings(make_encoded(), live_preview="segmentation")
    latent, result = sample_and_record(small, settings)
    assert torch.equal(latent, sample(small))
    assert (result.recording is not None) == (name == "_paint_of")


def test_a_model_that_changed_after_patching_is_sampled_without_a_recording() -> None:
    model = make_flux(joint_blocks=3)
    patched = patch_model(model, make_settings(layers="2"), lambda output, result: results.append(result))
    results: list[Any] = []
    del model.model.diffusion_model.double_blocks[2]
    assert torch.equal(sample(patched), sample(model))
    assert results[0].recording is None and "Layer 2 does not exist" in results[0].reason
