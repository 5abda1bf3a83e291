"""Runs that end early, and what presence leaves unchanged in ComfyUI."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from concept_attention.errors import UserError
from concept_attention.hosts.comfyui.best_of import Trial, choose_best, report_best
from concept_attention.hosts.comfyui.engine.early_stop import StopRule
from concept_attention.hosts.comfyui.engine.settings import Settings
from concept_attention.hosts.encoded import EncodedConcepts
from concept_attention.hosts.null_words import NullWords

from ....support.comfyui.recording_spy import make_encoded, recording_of, sample_and_record
from ....support.comfyui.tiny import TEXT_WIDTH, make_flux, sample


def measured(count: int = 3) -> EncodedConcepts:
    embeddings = torch.randn(4, TEXT_WIDTH, generator=torch.Generator().manual_seed(1))
    return dataclasses.replace(make_encoded(count), null_words=NullWords(("one", "two", "three", "four"), embeddings))


def test_latents_and_scores_are_bit_identical_with_and_without_null_words() -> None:
    model = make_flux()
    plain, result = sample_and_record(model, Settings(make_encoded()))
    with_words, measured_result = sample_and_record(model, Settings(measured()))
    assert torch.equal(plain, with_words)
    first, second = result.recording, measured_result.recording
    assert first is not None and second is not None and second.presence is not None
    assert torch.equal(first.scores, second.scores) and torch.equal(first.norms, second.norms)
    assert second.presence.shape == second.scores.shape


def test_the_running_mean_keeps_the_mean_of_the_log_odds() -> None:
    full = recording_of(make_flux(), Settings(measured()))
    mean = recording_of(make_flux(), Settings(measured(), keep="running mean"))
    assert full.presence is not None and mean.presence is not None
    expected = full.presence.float().mean(dim=0, keepdim=True)
    torch.testing.assert_close(mean.presence.float(), expected, atol=5e-3, rtol=2e-3)


@pytest.mark.parametrize("keep", ["every step", "running mean"])
def test_a_run_ends_where_a_wanted_concept_is_absent_and_returns_its_latest_x0(keep: str) -> None:
    model = make_flux()
    rule = StopRule(("thing 1",), after=0.5, below=1.0)
    latent, result = sample_and_record(model, Settings(measured(), keep=keep, stop=rule), steps=4)
    assert result.early is not None and result.early.steps_left == 2
    assert result.recording is not None and result.recording.metadata["steps"] == "2 of 2 steps recorded"
    assert result.recording.metadata["ended_early"].startswith(
        "Stopped after step 2 of 4. Absent there, by presence: thing 1 "
    )
    assert result.denoised is not None
    expected = model.model.process_latent_out(result.denoised.float())
    torch.testing.assert_close(latent.float().cpu(), expected.cpu())


@pytest.mark.parametrize("mode", ["cross", "gram"])
def test_a_reading_without_presence_is_refused_before_anything_is_sampled(mode: str) -> None:
    settings = Settings(measured(), mode=mode, stop=StopRule(("thing 1",), after=0.5, below=0.5))
    with pytest.raises(UserError, match="absent is measured by concept attention, and this run reads .* Choose a"):
        settings.check(make_flux().model)


def test_a_run_with_everything_wanted_is_bit_identical_to_one_that_cannot_end_early() -> None:
    model = make_flux()
    rule = StopRule(("thing 0", "thing 1"), after=0.5, below=0.0)
    latent, result = sample_and_record(model, Settings(measured(), stop=rule))
    assert torch.equal(latent, sample(model))
    assert result.early is not None and result.early.text == "" and set(result.early.presence) >= {"thing 0", "thing 1"}


def test_a_step_that_was_not_recorded_ends_nothing_and_is_named() -> None:
    rule = StopRule(("thing 0",), after=0.25, below=1.0)
    _, result = sample_and_record(make_flux(), Settings(measured(), start_percent=0.5, stop=rule), steps=4)
    assert result.early is not None and result.early.steps_left == 0
    assert result.recording is not None and "Step 1 was not recorded" in result.recording.metadata["cautions"]


def test_early_ends_leave_no_wrapper_behind() -> None:
    model = make_flux()
    before = sample(model)
    sample_and_record(model, Settings(measured(), stop=StopRule(("thing 0",), 0.25, 1.0)), steps=4)
    assert torch.equal(sample(model), before)


def test_rules_that_cannot_be_followed_are_refused() -> None:
    with pytest.raises(UserError, match='no concept "tree"'):
        Settings(measured(), stop=StopRule(("tree",)))
    with pytest.raises(UserError, match="have no null words"):
        Settings(make_encoded(), stop=StopRule(("thing 0",)))
    with pytest.raises(UserError, match="above 0, up to 1; got 0"):
        StopRule(("thing 0",), after=0.0)
    with pytest.raises(UserError, match="No concept is wanted"):
        StopRule(())


def test_the_best_seed_has_the_highest_least_presence() -> None:
    trials = [Trial(5, {"a": 0.9, "b": 0.2}, 6), Trial(6, {"a": 0.6, "b": 0.7}, 6), Trial(7, {"a": 0.6, "b": 0.6}, 6)]
    assert choose_best(trials).seed == 6
    assert report_best(trials).splitlines() == [
        "Seed 6 is the best of 3.",
        "seed 6: a 0.60, b 0.70",
        "seed 7: a 0.60, b 0.60",
        "seed 5: a 0.90, b 0.20 (absent: b)",
        "Steps not sampled: 18.",
    ]
