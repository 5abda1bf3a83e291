"""The running mean over steps: heatmaps equal those of every step, what is lost is refused, and it stays small."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from concept_attention.choices import KEEPS, check_choice
from concept_attention.concepts import Concept
from concept_attention.drawing.figures import layer_step_figure
from concept_attention.errors import UserError
from concept_attention.heatmaps.heatmaps import make_heatmaps
from concept_attention.recording.averaging import AveragingBuilder
from concept_attention.recording.builder import RecordingBuilder
from concept_attention.recording.file import load_recording, save_recording
from concept_attention.recording.recording import Recording, in_float16, recording_nbytes
from concept_attention.recording.shares import ShareRule, own_rule, share_rule
from concept_attention.scores import MODES

MIB = 2**20
CLOSE = 1e-6
LAYERS = (1, 4, 5)
SPREAD = {"paper": 1.0, "flux2": 3000.0, "sd3": 40.0}


def rule_of(mode: str, pad_count: int = 0) -> ShareRule:
    return ShareRule(MODES[mode], MODES[mode].temperature, pad_count)


def record(
    mode: str,
    steps: int = 28,
    concepts: int = 4,
    grid: tuple[int, int, int] = (1, 3, 5),
    spread: float | None = None,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
) -> tuple[Recording, Recording]:
    """The same random run, once with every step kept, once with their mean."""
    generator = torch.Generator().manual_seed(seed)
    tokens, pad_count = math.prod(grid), 226 - concepts if mode == "cogvideox" else 0
    spread = SPREAD.get(mode, 4.0) if spread is None else spread
    builders = (
        RecordingBuilder(LAYERS, dtype),
        AveragingBuilder(LAYERS, rule_of(mode, pad_count), concepts, dtype),
    )
    for step in range(steps):
        for layer in LAYERS:
            scores = spread * torch.randn(2, concepts, tokens, generator=generator)
            norms = 1 + 9 * torch.rand(2, concepts, generator=generator)
            pads = spread * torch.randn(2, tokens, generator=generator) - 4 if pad_count else None
            for builder in builders:
                builder.add_layer(layer, scores, norms, pads)
        for builder in builders:
            assert builder.commit(step + 2, 1 - step / steps)
            builder.begin_evaluation()
        for latest in zip(*(builder.latest for builder in builders), strict=True):
            assert torch.allclose(*map(torch.Tensor.float, latest), atol=0.02)  # half precision is for the result
    made: Any = {
        "layer_count": 8,
        "default_layers": (4, 5),
        "grid": grid,
        "image_size": (16 * grid[1], 16 * grid[2]),
        "architecture": "flux" if mode == "paper" else mode,
        "mode": mode,
        "concepts": [Concept(f"c{index}", f"c{index}") for index in range(concepts)],
        "pad_count": pad_count,
    }
    full, mean = (builder.build(**made) for builder in builders)
    return full, mean


def difference(one: Recording, other: Recording, **options: Any) -> float:
    found, expected = (make_heatmaps(recording, **options).values for recording in (one, other))
    return float((found - expected).abs().max())


@pytest.mark.parametrize("layers", ["auto", "all", "1", "1,5"])
@pytest.mark.parametrize("mode", list(MODES))
def test_heatmaps_of_the_mean_are_those_of_every_step(mode: str, layers: str) -> None:
    full, mean = record(mode)
    assert mean.scores.shape == (1, *full.scores.shape[1:]) and full.averaged is None
    assert difference(mean, full, layers=layers) < CLOSE
    assert difference(mean, full, layers=layers, kind="stretched") < 10 * CLOSE  # which divides by the shares' range
    assert make_heatmaps(full, layers=layers).values.std() > 0.01
    own = MODES[mode].temperature
    assert difference(mean, full, layers=layers, temperature=own, mode=mode, steps="All ") < CLOSE


@pytest.mark.parametrize("mode", list(MODES))
def test_one_concept_alone_is_the_same_too(mode: str) -> None:
    full, mean = record(mode, concepts=1)
    for kind in ("share", "stretched"):
        assert difference(mean, full, layers="all", kind=kind) < 1e-5


@pytest.mark.parametrize("mode", list(MODES))
def test_shares_that_round_to_zero_stay_zero(mode: str) -> None:
    full, mean = record(mode, steps=3, spread=1e6)
    assert torch.isfinite(mean.scores).all()
    assert difference(mean, full, layers="all") < CLOSE


def test_a_video_has_its_mean_per_frame() -> None:
    full, mean = record("cogvideox", grid=(3, 2, 4))
    assert mean.video and difference(mean, full) < CLOSE


def test_the_mean_says_what_it_is() -> None:
    for mode, averaged in (("flux", "share"), ("flux2", "score"), ("sd3", "share"), ("cogvideox", "share")):
        _, mean = record(mode, steps=4)
        assert (mean.averaged, mean.steps, mean.sigmas) == (averaged, (5,), (0.625,))
        assert torch.equal(mean.norms, torch.ones_like(mean.norms))
    assert record("flux", concepts=1)[1].averaged == "score"


def test_shares_are_kept_as_their_logarithm() -> None:
    """So whoever takes the softmax of the scores over the concepts has the mean shares."""
    full, mean = record("flux")
    expected = full.scores.softmax(dim=3).mean(dim=0)
    assert float((mean.scores[0].softmax(dim=2) - expected).abs().max()) < CLOSE
    assert float((mean.scores[0].exp() - expected).abs().max()) < CLOSE


@pytest.mark.parametrize(
    ("mode", "options", "lost"),
    [
        ("flux", {"steps": "0-3"}, "steps 0-3"),
        ("flux", {"steps": "-1"}, "steps -1"),
        ("flux", {"mode": "sd3"}, "mode sd3"),
        ("flux", {"mode": "flux2"}, "mode flux2"),
        ("flux", {"temperature": 2.0}, "temperature 2"),
        ("flux", {"kind": "score"}, "kind score"),
        ("sd3", {"mode": "flux"}, "mode flux"),
        ("cogvideox", {"mode": "flux"}, "mode flux"),
        ("flux2", {"mode": "flux"}, "mode flux"),
        ("flux2", {"steps": "0"}, "steps 0"),
    ],
)
def test_what_a_mean_does_not_tell_is_refused(mode: str, options: dict[str, Any], lost: str) -> None:
    full, mean = record(mode)
    make_heatmaps(full, **options)
    kept = "scores" if mode == "flux2" else f"shares in mode {mode} at temperature 1"
    refusal = rf"only the mean of its {kept} over all steps; {lost} cannot be computed.*every step"
    with pytest.raises(UserError, match=refusal):
        make_heatmaps(mean, **options)
    if "mode" in options:
        with pytest.raises(UserError, match="only the mean"):
            share_rule(mean, options["mode"])


def test_a_mean_of_scores_tells_scores_at_any_temperature() -> None:
    full, mean = record("flux2")
    assert difference(mean, full, temperature=300.0) < CLOSE
    scores = make_heatmaps(full, kind="score").values
    assert torch.allclose(make_heatmaps(mean, kind="score").values, scores, rtol=1e-5, atol=1e-3)


def test_other_steps_must_have_all_layers() -> None:
    builder = AveragingBuilder(LAYERS, rule_of("flux"), 2)
    builder.add_layer(1, torch.zeros(1, 2, 6), torch.ones(1, 2))
    assert not builder.commit(0, 1.0) and builder.committed == 0
    with pytest.raises(UserError, match="Nothing was recorded"):
        builder.build(
            layer_count=8,
            default_layers=(4,),
            grid=(1, 2, 3),
            image_size=(32, 48),
            architecture="flux",
            mode="flux",
            concepts=[Concept("a", "a"), Concept("b", "b")],
        )


def test_a_mean_comes_back_from_its_file(tmp_path: Any) -> None:
    full, mean = record("cogvideox")
    loaded = load_recording(save_recording(mean, tmp_path / "r.safetensors"))
    assert loaded.averaged == "share" and difference(loaded, full) < CLOSE
    half = in_float16(mean)
    assert half.averaged == "share" and half.scores.dtype == torch.float16 and difference(half, full) < 0.01
    assert difference(record("flux", dtype=torch.float16)[1], record("flux")[0]) < 0.01


def test_a_mean_of_shares_among_the_concepts_keeps_no_pad_tokens() -> None:
    """By default CogVideoX's concepts see pad tokens, and these have no share."""
    full, _ = record("cogvideox", steps=4)
    assert full.pad_scores is not None
    builder = AveragingBuilder(LAYERS, own_rule(MODES["flux"], full.pad_count), 4)
    for step in range(4):
        for index, layer in enumerate(LAYERS):
            scores, norms, pads, *_ = full.at(step, index)
            builder.add_layer(layer, scores, norms, pads)
        builder.commit(step, 0.5)
    mean = builder.build(
        layer_count=8, default_layers=(4, 5), grid=full.grid, image_size=full.image_size,
        architecture="cogvideox", mode="flux", concepts=full.concepts, pad_count=full.pad_count,
    )  # fmt: skip
    assert mean.pad_scores is None and mean.pad_count == 0
    found, expected = make_heatmaps(mean, "all").values, make_heatmaps(full, "all", mode="flux").values
    assert float((found - expected).abs().max()) < CLOSE
    torch.testing.assert_close(found.sum(dim=1), torch.ones_like(found[:, 0]))


def test_a_figure_of_a_mean_has_one_column() -> None:
    full, mean = record("flux")
    assert layer_step_figure(mean, "c1").shape[1] < layer_step_figure(full, "c1").shape[1]


def test_an_unknown_keep_is_refused() -> None:
    with pytest.raises(UserError, match="'all'.*Choose one of every step, running mean"):
        check_choice("keep", "all", KEEPS)


def test_the_mean_of_a_cogvideox_5b_run_takes_at_most_64_mib() -> None:
    """49 frames of 720 x 480, all 42 layers, 50 steps, 5 concepts; every step kept would be 40 times as large."""
    layers, tokens = range(42), 13 * 30 * 45
    builder = AveragingBuilder(layers, rule_of("cogvideox", 221), 5)
    generator = torch.Generator().manual_seed(0)
    scores, pads = torch.randn(1, 5, tokens, generator=generator), torch.randn(1, tokens, generator=generator)
    for step in range(2):
        for layer in layers:
            builder.add_layer(layer, scores, torch.ones(1, 5), pads)
        assert builder.commit(step, 0.5)
    recording: Any = builder.build(
        layer_count=42,
        default_layers=range(30),
        grid=(13, 30, 45),
        image_size=(480, 720),
        architecture="cogvideox",
        mode="cogvideox",
        concepts=[Concept(f"c{index}", f"c{index}") for index in range(5)],
        pad_count=221,
        frame_counts=(1, *[4] * 12),
    )
    held: list[Tensor] = [recording.scores, recording.norms, recording.pad_scores]
    stored = sum(tensor.untyped_storage().nbytes() for tensor in held)
    assert recording.nbytes <= stored <= 64 * MIB
    assert recording_nbytes(50, 42, 1, 6, tokens, torch.float32) > 0.8 * 1024 * MIB
