import copy
import logging
from dataclasses import FrozenInstanceError, replace

import pytest
import torch

from concept_attention.concepts import Concept, parse_concepts
from concept_attention.recording.recording import in_float16, recording_nbytes

from ..support.recordings import small_recording


def test_a_recording_tells_its_size():
    recording = small_recording()
    assert (recording.batch, recording.video) == (2, False)
    assert recording.nbytes == 4 * (2 * 2 * 2 * 3 * 6 + 2 * 2 * 2 * 3)
    assert recording.nbytes == recording_nbytes(2, 2, 2, 3, 6, torch.float32)
    assert small_recording(grid=(3, 1, 2), image_size=(16, 32)).video
    padded = small_recording(pad_scores=torch.zeros(2, 2, 2, 6), pad_count=223)
    assert padded.nbytes == recording.nbytes + 4 * 2 * 2 * 2 * 6


def test_a_recording_cannot_be_changed_and_holds_no_graph():
    scores = torch.randn(2, 2, 2, 3, 6, requires_grad=True)
    metadata = {"seed": "1"}
    recording = small_recording(scores=scores * 2, layers=[1, 3], metadata=metadata)
    metadata["seed"] = "2"
    assert not recording.scores.requires_grad
    assert recording.layers == (1, 3) and recording.metadata == {"seed": "1"}
    with pytest.raises(FrozenInstanceError):
        recording.mode = "paper"  # type: ignore[misc]


def test_a_recording_is_one_short_line():
    assert repr(small_recording()) == (
        "<Recording of sky, house, grass: flux, mode flux, scores (2, 2, 2, 3, 6), image 48 x 32>"
    )
    assert repr(small_recording(grid=(3, 1, 2), image_size=(16, 32))).endswith(", video 32 x 16>")


def test_a_recording_can_be_copied():
    recording = small_recording()
    duplicate = copy.deepcopy(recording)
    assert torch.equal(duplicate.scores, recording.scores) and duplicate.metadata == recording.metadata


NAN, INF = float("nan"), float("inf")
CONTRADICTIONS = [
    ({"scores": torch.zeros(2, 2, 2, 3, 7)}, "scores must have shape"),
    ({"scores": torch.zeros(2, 2, 2, 4, 6)}, "scores must have shape"),
    ({"scores": torch.zeros(2, 2, 0, 3, 6), "norms": torch.zeros(2, 2, 0, 3)}, "scores must have shape"),
    ({"scores": torch.zeros(2, 2, 3, 6)}, "scores must be"),
    ({"scores": torch.zeros(2, 2, 2, 3, 6, dtype=torch.float64)}, "scores must be"),
    ({"scores": torch.zeros(2, 2, 2, 3, 6, dtype=torch.bfloat16)}, "scores must be"),
    ({"scores": torch.zeros(2, 2, 2, 3, 6, device="meta")}, "on the CPU"),
    ({"scores": torch.full((2, 2, 2, 3, 6), NAN)}, "scores must be finite"),
    ({"scores": torch.full((2, 2, 2, 3, 6), INF, dtype=torch.float16)}, "scores must be finite"),
    ({"norms": torch.zeros(2, 2, 2, 2)}, "norms must have shape"),
    ({"norms": torch.zeros(2, 2, 2, 3, dtype=torch.float16)}, "norms must have"),
    ({"norms": torch.full((2, 2, 2, 3), -INF)}, "norms must be finite"),
    ({"norms": torch.full((2, 2, 2, 3), -1.0)}, "norms must not be negative"),
    ({"layers": (3, 1)}, "layers must be one or more in ascending order"),
    ({"layers": (1, 1)}, "layers must be"),
    ({"layers": (1, 4)}, "layers must be integers from 0 to 3"),
    ({"layers": (1, 2, 3)}, "scores must have shape"),
    ({"layers": (1.0, 3.0)}, "layers must be integers"),
    ({"default_layers": ()}, "default_layers must be"),
    ({"default_layers": (4,)}, "default_layers must be"),
    ({"layer_count": 10**12}, "layer_count"),
    ({"steps": (0,)}, "sigma"),
    ({"steps": (0, -1)}, "steps"),
    ({"steps": (), "sigmas": ()}, "sigma"),
    ({"sigmas": (1.0, 1.5)}, "sigmas must be numbers from 0 to 1"),
    ({"sigmas": (1.0, NAN)}, "sigmas must be"),
    ({"sigmas": (1.0, "0.5")}, "sigmas must be"),
    ({"grid": (1, 3, 3)}, "scores must have shape"),
    ({"grid": (2, 3)}, "grid must be"),
    ({"grid": (-1, -2, 3)}, "grid must be"),
    ({"image_size": (0, 48)}, "image_size must be"),
    ({"image_size": (32, 48, 3)}, "image_size"),
    ({"covered_size": (31, 48)}, r"covered_size must be at least the image's \(32, 48\) and less than one token"),
    ({"covered_size": (64, 48)}, r"less than one token of the grid \(1, 2, 3\) more, got \(64, 48\)"),
    ({"covered_size": (32,)}, "covered_size must be"),
    ({"covered_size": (32.0, 48.0)}, "covered_size must be integers"),
    ({"frame_counts": (1, 4)}, r"frame_counts must be one for each T of the grid \(1, 2, 3\), got \(1, 4\)"),
    ({"frame_counts": (0,)}, "frame_counts must be integers from 1"),
    ({"frame_counts": (4.0,)}, "frame_counts must be integers from 1"),
    ({"frame_counts": (10**9,)}, "frame_counts must be integers from 1"),
    ({"averaged": "share"}, "with one step that is the mean, got 'share' and 2 steps"),
    ({"averaged": "mean"}, "averaged must be one of share, score"),
    ({"mode": "auto"}, "mode must be one of paper, flux"),
    ({"mode": None}, "mode"),
    ({"architecture": None}, "architecture"),
    ({"concepts": parse_concepts("a, b")}, "scores must have shape"),
    ({"concepts": (Concept("a", "a"), Concept("b", "b"), Concept("A", "c"))}, "different names"),
    ({"concepts": ()}, "concepts must be"),
    ({"pad_scores": torch.zeros(2, 2, 2, 6)}, "go together"),
    ({"pad_count": 3}, "go together"),
    ({"pad_scores": torch.zeros(2, 2, 2, 6), "pad_count": 10**12}, "pad_count"),
    ({"pad_scores": torch.zeros(2, 2, 2, 5), "pad_count": 3}, "pad_scores must have shape"),
    ({"pad_scores": torch.zeros(2, 2, 2, 6).half(), "pad_count": 3}, "pad_scores must have"),
    ({"metadata": {"seed": 1}}, "metadata"),
]


@pytest.mark.parametrize(("changes", "message"), CONTRADICTIONS)
def test_a_recording_that_contradicts_itself_is_a_one_line_error(changes, message):
    with pytest.raises(ValueError, match=message) as error:
        small_recording(**changes)
    assert "\n" not in str(error.value)


def test_replace_checks_again():
    with pytest.raises(ValueError, match="mode"):
        replace(small_recording(), mode="none")


@pytest.mark.parametrize("pads", [False, True])
def test_a_recording_in_float16_has_the_same_scores(pads):
    scores = torch.randn(2, 2, 2, 3, 6, generator=torch.Generator().manual_seed(3))
    given = {"pad_scores": scores[:, :, :, 0], "pad_count": 5} if pads else {}
    whole = small_recording(scores=scores, **given)
    half = in_float16(whole)
    assert half.scores.dtype == torch.float16 and torch.equal(half.norms, whole.norms)
    torch.testing.assert_close(half.at().scores, whole.scores, atol=1e-3, rtol=1e-3)
    assert half.pad_count == whole.pad_count
    assert (half.pad_scores is None) == (not pads)
    if pads:
        assert half.pad_scores.dtype == torch.float16
        torch.testing.assert_close(half.at().pad_scores, whole.pad_scores, atol=1e-3, rtol=1e-3)
    assert whole.scores.dtype == torch.float32


def test_a_recording_that_float16_cannot_hold_stays_as_it_is(caplog):
    whole = small_recording(scores=torch.full((2, 2, 2, 3, 6), 7e4))
    with caplog.at_level(logging.WARNING, logger="concept_attention"):
        assert in_float16(whole) is whole
    assert "beyond float16" in caplog.text


def test_a_recording_of_frames_is_a_video() -> None:
    assert small_recording(grid=(2, 1, 3)).video and not small_recording().video
    assert small_recording(frame_counts=(5,)).video  # one token may stand for two latent frames
