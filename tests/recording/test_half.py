"""Half precision: shares and scores of full-size models stay what they are, and older files stay readable."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from concept_attention.choices import Kind
from concept_attention.errors import UserError
from concept_attention.heatmaps.heatmaps import make_heatmaps
from concept_attention.recording.builder import RecordingBuilder
from concept_attention.recording.file import load_recording, save_recording
from concept_attention.recording.half import reads_norms
from concept_attention.recording.recording import Recording, in_float16
from concept_attention.scores import MODES
from concept_attention.viewer.maps import maps_of_recording

from ..support.recordings import make_recording

MAGNITUDE = 2000.0
BAR = 2e-3  # of a share


def full_size(mode: str, spread: float, steps: int = 3) -> Recording:
    """Scores around 2,000, spread by `spread` among the concepts of a token."""
    recording = make_recording(mode, grid=(1, 12, 20), concepts=4, steps=steps)
    generator = torch.Generator().manual_seed(7)
    level = MAGNITUDE + 200 * torch.randn(recording.scores[:, :, :, :1].shape, generator=generator)
    scores = level + spread * torch.randn(recording.scores.shape, generator=generator)
    norms = 20 + 20 * torch.rand(recording.norms.shape, generator=generator)
    pads = None if recording.pad_scores is None else level[:, :, :, 0] - 3
    if reads_norms(mode):
        scores = scores * norms[..., None] / 30
    return replace(recording, scores=scores, norms=norms, pad_scores=pads)


def difference(one: Recording, other: Recording, kind: Kind = "share", mode: str = "auto") -> float:
    found, expected = (make_heatmaps(recording, "all", mode=mode, kind=kind).values for recording in (one, other))
    return float((found - expected).abs().max())


@pytest.mark.parametrize("spread", [1.0, 10.0, 1000.0])
@pytest.mark.parametrize("mode", list(MODES))
def test_shares_of_full_size_scores_are_right(mode: str, spread: float) -> None:
    whole = full_size(mode, spread)
    half = in_float16(whole)
    assert half.scores.dtype == torch.float16
    assert difference(half, whole) < BAR
    shown = torch.from_numpy(maps_of_recording(half).of_image(1).stored.astype("float32"))
    expected = torch.from_numpy(maps_of_recording(whole).of_image(1).stored.astype("float32"))
    assert mode == "flux2" or float((shown - expected).abs().max()) / 65535 < BAR


@pytest.mark.parametrize("mode", ["flux", "flux2", "cogvideox"])
def test_what_was_stored_before_was_not(mode: str) -> None:
    """The test's scores are hard enough: absolute ones miss the bar, except where they are divided by 1,000."""
    whole = full_size(mode, 1.0, steps=1)
    pads = None if whole.pad_scores is None else whole.pad_scores.half()
    absolute = replace(whole, scores=whole.scores.half(), pad_scores=pads)
    assert difference(absolute, whole) > 10 * BAR or mode == "flux2"


@pytest.mark.parametrize("mode", list(MODES))
def test_raw_scores_are_right(mode: str) -> None:
    whole = full_size(mode, 10.0)
    assert difference(in_float16(whole), whole, "score") < 0.05 < 1e-4 * MAGNITUDE


def test_another_mode_can_be_read() -> None:
    whole = full_size("flux", 10.0)
    half = in_float16(whole)
    assert difference(half, whole, mode="flux2") < BAR
    assert difference(half, whole, mode="sd3") < BAR


@pytest.mark.parametrize("mode", list(MODES))
def test_a_run_recorded_in_float16_is_the_same(mode: str) -> None:
    whole = full_size(mode, 1.0)
    builder = RecordingBuilder(whole.layers, torch.float16, reads_norms(mode))
    for step in range(3):
        for index, layer in enumerate(whole.layers):
            scores, norms, *pads = whole.at(step, index)[:3]
            builder.add_layer(layer, scores, norms, *pads)
        builder.commit(step, 0.5)
        for found, expected in zip(builder.latest, whole.at(step)[:3], strict=False):
            torch.testing.assert_close(found, expected, atol=0.05, rtol=0)
    half = builder.build(
        layer_count=8, default_layers=(6, 7), grid=(1, 12, 20), image_size=(192, 320),
        architecture=whole.architecture, mode=mode, concepts=whole.concepts, pad_count=whole.pad_count,
    )  # fmt: skip
    expected = in_float16(whole)
    for name in ("scores", "norms", "offsets", "pad_scores"):
        one, other = getattr(half, name), getattr(expected, name)
        assert other is one is None or torch.equal(one, other), name


def test_a_builder_that_was_not_told_of_the_norms_is_refused() -> None:
    builder = RecordingBuilder((0,), torch.float16)
    builder.add_layer(0, torch.zeros(1, 2, 6), torch.ones(1, 2))
    builder.commit(0, 0.5)
    whole = make_recording("sd3", concepts=2)
    with pytest.raises(ValueError, match="by_norms must be True for mode sd3, got False"):
        builder.build(
            layer_count=8, default_layers=(0,), grid=(1, 2, 3), image_size=(32, 48),
            architecture="sd3", mode="sd3", concepts=whole.concepts,
        )  # fmt: skip


def test_scores_far_apart_stay_in_float32_if_float16_cannot_hold_their_distance(
    caplog: pytest.LogCaptureFixture,
) -> None:
    whole = make_recording(concepts=2)
    apart = replace(whole, scores=torch.tensor([60_000.0, -60_000.0])[:, None].expand(whole.scores.shape).clone())
    assert in_float16(apart) is apart and "beyond float16" in caplog.text


def test_a_file_keeps_the_offsets_and_an_older_one_is_read_as_it_was(tmp_path: Path) -> None:
    whole = full_size("sd3", 10.0)
    half = in_float16(whole)
    assert in_float16(half) is half
    loaded = load_recording(save_recording(half, tmp_path / "half.safetensors"))
    assert loaded.offsets is not None and half.offsets is not None and torch.equal(loaded.offsets, half.offsets)
    assert loaded.nbytes == half.nbytes == half.scores.nbytes * 5 // 4 + half.norms.nbytes
    assert torch.equal(make_heatmaps(loaded).values, make_heatmaps(half).values)

    small = make_recording(dtype=torch.float16)  # with absolute scores, as versions before wrote them
    older = load_recording(save_recording(small, tmp_path / "older.safetensors"))
    assert older.offsets is None and difference(older, replace(small, scores=small.scores.float())) == 0
    assert difference(in_float16(older), older) < BAR


def test_offsets_that_do_not_fit_are_refused() -> None:
    half = in_float16(make_recording())
    assert half.offsets is not None
    with pytest.raises(ValueError, match="Only float16 scores have offsets, got torch.float32"):
        replace(half, scores=half.scores.float())
    with pytest.raises(ValueError, match="offsets must have shape"):
        replace(half, offsets=half.offsets[..., 1:])
    with pytest.raises(UserError, match="offsets must be finite"):
        replace(half, offsets=half.offsets * math.inf)
