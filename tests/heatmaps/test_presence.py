"""Whether a concept is there: scores of maps, and what is said of them."""

from __future__ import annotations

import pytest
import torch

from concept_attention.errors import UserError
from concept_attention.heatmaps.heatmaps import make_heatmaps
from concept_attention.heatmaps.presence import ConceptPresence, find_present, presence_scores, presence_text
from concept_attention.heatmaps.summary import summarise, summary_text
from concept_attention.recording.example import example_recording
from concept_attention.recording.file import load_recording, save_recording
from concept_attention.recording.recording import in_float16


def test_a_score_is_the_mean_of_the_highest_hundredth_of_the_map() -> None:
    maps = torch.rand(2, 3, 20, 30, generator=torch.Generator().manual_seed(0))
    naive = [[sum(sorted(image.flatten().tolist())[-6:]) / 6 for image in concepts] for concepts in maps]
    torch.testing.assert_close(presence_scores(maps), torch.tensor(naive))


def test_concepts_are_present_from_the_threshold_on() -> None:
    found = find_present(example_recording(presence=True), threshold=0.96)
    expected = 1 / (1 + torch.tensor(-3.0).exp())
    assert [one.score for one in found] == pytest.approx([float(expected)] * 3, abs=1e-3)
    assert [one.present for one in found] == [(False,)] * 3
    assert [one.role for one in found] == ["concept", "concept", "background"]


def test_recordings_without_null_words_say_so() -> None:
    with pytest.raises(UserError, match="has no presence: it was made without null words"):
        find_present(example_recording())
    with pytest.raises(UserError, match="heatmaps of kind presence, got share"):
        find_present(make_heatmaps(example_recording()))


def test_presence_outlives_half_precision_and_files(tmp_path) -> None:
    recording = example_recording(presence=True)
    loaded = load_recording(save_recording(in_float16(recording), tmp_path / "r.safetensors"))
    assert recording.presence is not None and loaded.presence is not None
    assert torch.equal(loaded.presence, recording.presence)


def test_a_summary_with_presence_calls_absent_what_is_not_present() -> None:
    recording = example_recording(presence=True)
    shares = make_heatmaps(recording)
    text = summary_text(summarise(shares, find_present(recording, threshold=0.99)))
    assert "house: absent (presence 0.95)" in text
    assert text.splitlines()[0].endswith("area  presence")
    assert [one.absent for one in summarise(shares, find_present(recording))] == [False] * 3


def test_the_text_says_in_how_many_images_a_concept_is() -> None:
    found = [
        ConceptPresence("boat", "concept", (0.9, 0.1), (True, False)),
        ConceptPresence("car", "concept", (0.1,), (False,)),
    ]
    assert presence_text(found) == "boat: present in 1 of 2 (0.90, 0.10)\ncar: absent (0.10)"
