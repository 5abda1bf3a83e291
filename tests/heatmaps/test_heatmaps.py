"""Heatmaps against the formulas written out with loops, in every mode, and what a recording cannot give."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from concept_attention.choices import Kind
from concept_attention.concepts import Concept
from concept_attention.errors import UserError
from concept_attention.heatmaps.heatmaps import Heatmaps, make_heatmaps
from concept_attention.recording.recording import Recording

from ..support.recordings import MODE_NAMES, make_recording, naive_shares, small_recording


@pytest.mark.parametrize("grid", [(1, 3, 5), (3, 2, 4)])
@pytest.mark.parametrize("mode", MODE_NAMES)
def test_shares_are_what_the_formula_says(mode: str, grid: tuple[int, int, int]) -> None:
    recording = make_recording(mode, grid)
    temperature = 1000.0 if mode == "flux2" else 1.0
    values = make_heatmaps(recording, layers="all").values
    expected = naive_shares(recording, mode, [0, 1, 2], [0, 1, 2, 3], temperature)
    torch.testing.assert_close(values, expected if grid[0] > 1 else expected[:, :, 0])


@pytest.mark.parametrize("temperature", [0.5, 10.0, 300.0])
@pytest.mark.parametrize("mode", MODE_NAMES)
def test_a_temperature_of_ones_own_replaces_the_modes(mode: str, temperature: float) -> None:
    recording = make_recording(mode)
    values = make_heatmaps(recording, layers="all", temperature=temperature).values
    expected = naive_shares(recording, mode, [0, 1, 2], [0, 1, 2, 3], temperature)
    torch.testing.assert_close(values, expected[:, :, 0])


def test_layers_are_the_models_and_steps_the_recordings() -> None:
    recording = make_recording()
    values = make_heatmaps(recording, layers="5-6", steps="0,-1").values
    torch.testing.assert_close(values, naive_shares(recording, "flux", [0, 2], [1, 2], 1.0)[:, :, 0])
    assert torch.equal(make_heatmaps(recording, layers=[6, 5], steps=[2, 0]).values, values)


def test_auto_layers_are_the_default_ones_as_far_as_they_were_kept() -> None:
    def same(recording: Recording, layers: Sequence[int]) -> bool:
        return torch.equal(make_heatmaps(recording).values, make_heatmaps(recording, layers).values)

    assert same(make_recording(default_layers=(6, 7)), [6, 7])
    assert same(make_recording(default_layers=(4, 5)), [5])
    assert same(make_recording(default_layers=(0, 1)), [2, 5, 6, 7])


def test_a_raw_recording_can_be_read_in_any_raw_mode() -> None:
    recording = make_recording("flux")
    for mode, temperature in (("flux", 1.0), ("flux2", 1000.0), ("sd3", 1.0)):
        values = make_heatmaps(recording, "all", mode=mode).values
        expected = naive_shares(recording, mode, [0, 1, 2], [0, 1, 2, 3], temperature)
        torch.testing.assert_close(values, expected[:, :, 0])
    videos = make_recording("cogvideox")
    assert torch.equal(make_heatmaps(videos, mode="flux").values, make_heatmaps(replace(videos, mode="flux")).values)


@pytest.mark.parametrize(("recorded", "mode"), [("paper", "flux"), ("flux", "paper"), ("flux", "cogvideox")])
def test_a_mode_whose_scores_were_not_recorded_is_an_error(recorded: str, mode: str) -> None:
    with pytest.raises(UserError, match=f"Record again with mode={mode}"):
        make_heatmaps(make_recording(recorded), mode=mode)


@pytest.mark.parametrize("mode", MODE_NAMES)
def test_scores_are_the_mean_of_the_modes_scores(mode: str) -> None:
    recording = make_recording(mode)
    heatmaps = make_heatmaps(recording, "2,6", "1-2", kind="score")
    expected = torch.zeros(2, 3, 15)
    for s in (1, 2):
        for ell in (0, 2):
            norms = recording.norms[s, ell] if mode == "sd3" else torch.ones(2, 3)
            expected += recording.scores[s, ell] / norms[:, :, None] / 4
    torch.testing.assert_close(heatmaps.values, expected.reshape(2, 3, 3, 5))
    assert heatmaps.kind == "score"


@pytest.mark.parametrize("grid", [(1, 3, 5), (3, 2, 4)])
def test_stretching_spans_all_concepts_of_each_image(grid: tuple[int, int, int]) -> None:
    recording = make_recording(grid=grid)
    shares = make_heatmaps(recording).values
    stretched = make_heatmaps(recording, kind="stretched").values
    for share, image in zip(shares, stretched, strict=True):
        torch.testing.assert_close(image, (share - share.min()) / (share.max() - share.min()))


@pytest.mark.parametrize("mode", ["paper", "flux", "flux2", "sd3"])
def test_shares_sum_to_one_before_and_after_resizing(mode: str) -> None:
    heatmaps = make_heatmaps(make_recording(mode, grid=(1, 6, 10)))
    for one in (heatmaps, heatmaps.resized(), heatmaps.resized((4, 7))):
        torch.testing.assert_close(one.values.sum(dim=1), torch.ones_like(one.values[:, 0]))


def test_padding_tokens_take_their_part_of_the_share() -> None:
    values = make_heatmaps(make_recording("cogvideox")).values
    assert float(values.sum(dim=1).max()) < 1


def test_as_many_concepts_as_there_are_tokens_leave_no_padding() -> None:
    names = [f"concept {number}" for number in range(226)]
    recording = replace(
        make_recording(),
        scores=torch.randn(1, 1, 1, 226, 15),
        norms=torch.ones(1, 1, 1, 226),
        layers=(7,),
        steps=(0,),
        sigmas=(1.0,),
        mode="cogvideox",
        concepts=tuple(Concept(name, name) for name in names),
    )
    tokens = make_heatmaps(recording).values.flatten(2)
    torch.testing.assert_close(tokens, recording.scores[0, 0].softmax(dim=1))


def test_permuting_concepts_permutes_maps() -> None:
    recording = make_recording()
    order = [2, 0, 1]
    permuted = replace(
        recording,
        scores=recording.scores[:, :, :, order],
        norms=recording.norms[:, :, :, order],
        concepts=tuple(recording.concepts[c] for c in order),
    )
    for mode in ("flux", "flux2", "sd3"):
        heatmaps, moved = make_heatmaps(recording, mode=mode), make_heatmaps(permuted, mode=mode)
        torch.testing.assert_close(moved.values, heatmaps.values[:, order])
        assert moved.index("tree") == 0 and heatmaps.index("tree") == 2


def test_one_concept_alone_has_share_one_and_stretches_its_score() -> None:
    recording = make_recording(concepts=1)
    assert torch.equal(make_heatmaps(recording).values, torch.ones(2, 1, 3, 5))
    scores = make_heatmaps(recording, kind="score").values
    stretched = make_heatmaps(recording, kind="stretched").values
    for score, image in zip(scores, stretched, strict=True):
        torch.testing.assert_close(image, (score - score.min()) / (score.max() - score.min()))


def test_one_concept_among_padding_tokens_has_something_to_compare_with() -> None:
    recording = make_recording("cogvideox", concepts=1)
    shares = make_heatmaps(recording).values
    stretched = make_heatmaps(recording, kind="stretched").values
    assert float(shares.max()) < 1
    for share, image in zip(shares, stretched, strict=True):
        torch.testing.assert_close(image, (share - share.min()) / (share.max() - share.min()))


@pytest.mark.parametrize("concepts", [1, 3])
def test_flat_scores_give_even_shares_and_stretch_to_zeros(concepts: int) -> None:
    recording = make_recording(concepts=concepts)
    flat = replace(recording, scores=torch.full_like(recording.scores, 0.7))
    torch.testing.assert_close(make_heatmaps(flat).values, torch.full((2, concepts, 3, 5), 1 / concepts))
    assert torch.equal(make_heatmaps(flat, kind="stretched").values, torch.zeros(2, concepts, 3, 5))


def test_a_zero_concept_vector_scores_zero_in_sd3() -> None:
    recording = make_recording("sd3")
    scores, norms = recording.scores.clone(), recording.norms.clone()
    scores[:, :, :, 1], norms[:, :, :, 1] = 0, 0
    values = make_heatmaps(replace(recording, scores=scores, norms=norms), kind="score").values
    assert torch.equal(values[:, 1], torch.zeros(2, 3, 5))


def test_huge_scores_do_not_overflow() -> None:
    recording = make_recording()
    values = make_heatmaps(replace(recording, scores=recording.scores * 1e30)).values
    torch.testing.assert_close(values.sum(dim=1), torch.ones(2, 3, 5))


@pytest.mark.parametrize("mode", MODE_NAMES)
@pytest.mark.parametrize("temperature", [1e-6, 1e9])
def test_extreme_temperatures_give_shares_still(mode: str, temperature: float) -> None:
    recording = make_recording(mode)
    recording = replace(recording, scores=recording.scores * 1e10)
    values = make_heatmaps(recording, temperature=temperature).values
    assert float(values.min()) >= 0 and float(values.max()) <= 1 + 1e-6


def test_a_half_precision_recording_is_read_in_float32() -> None:
    recording = make_recording(dtype=torch.float16)
    values = make_heatmaps(recording, "all").values
    torch.testing.assert_close(values, naive_shares(recording, "flux", [0, 1, 2], [0, 1, 2, 3], 1.0)[:, :, 0])


def test_the_recording_stays_as_it_was() -> None:
    recording = make_recording()
    before = recording.scores.clone()
    for kind in ("share", "score", "stretched"):
        make_heatmaps(recording, "2", "0", kind=kind)
        make_heatmaps(recording, kind=kind)
    assert torch.equal(recording.scores, before)


class NewMemory(TorchDispatchMode):
    """Adds up what operations allocate and keeps the largest single allocation, in bytes."""

    largest = 0

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        seen = {one.untyped_storage().data_ptr() for one in args if isinstance(one, Tensor)}
        if isinstance(result, Tensor) and result.untyped_storage().data_ptr() not in seen:
            self.largest = max(self.largest, result.untyped_storage().nbytes())
        return result


@pytest.mark.parametrize("kind", ["share", "score", "stretched"])
@pytest.mark.parametrize("mode", ["flux2", "sd3", "cogvideox"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_no_copy_of_the_recording_is_made(mode: str, kind: Kind, dtype: torch.dtype) -> None:
    recording = make_recording(mode, grid=(1, 16, 24), steps=10, layers=tuple(range(8)), dtype=dtype)
    with NewMemory() as memory:
        heatmaps = make_heatmaps(recording, "all", kind=kind)
    assert 0 < memory.largest <= 2 * heatmaps.values.nbytes < recording.nbytes / 10


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"layers": "3"}, "Layer 3 was not recorded: this recording keeps 2, 5, 6, 7"),
        ({"layers": "5-8"}, "Layer 8 does not exist"),
        ({"steps": "3"}, "3"),
        ({"mode": "foggy"}, "foggy"),
        ({"kind": "heat"}, "Kind of heatmap 'heat' does not exist"),
        ({"temperature": 0.0}, "Temperature must lie in 1e-06 to 1e\\+09"),
        ({"temperature": math.nan}, "Temperature must lie in"),
    ],
)
def test_a_choice_that_cannot_be_made_is_an_error(choice: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        make_heatmaps(make_recording(), **choice)


def test_resized_defaults_to_the_image_and_keeps_the_rest() -> None:
    heatmaps = make_heatmaps(make_recording(grid=(2, 3, 5)))
    resized = heatmaps.resized()
    assert resized.values.shape == (2, 3, 2, 48, 80)
    assert (resized.concepts, resized.kind, resized.image_size) == (heatmaps.concepts, "share", (48, 80))
    assert resized.video and resized.batch == 2
    assert not make_heatmaps(make_recording()).video


def test_what_lies_outside_of_the_image_is_cut_off_when_resizing() -> None:
    recording = make_recording(grid=(1, 3, 5))
    height, width = recording.image_size
    smaller = dataclasses.replace(recording, image_size=(height - 8, width), covered_size=(height, width))
    heatmaps = make_heatmaps(smaller)
    assert torch.equal(heatmaps.values, make_heatmaps(recording).values)
    resized = heatmaps.resized()
    assert torch.equal(resized.values, make_heatmaps(recording).resized().values[:, :, : height - 8])
    assert resized.covered_size is None and torch.equal(resized.resized().values, resized.values)
    with pytest.raises(ValueError, match="cover at least their image"):
        dataclasses.replace(heatmaps, covered_size=(height, width - 1))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (torch.zeros(1, 3, 2, 2), "Heatmaps of 2 concepts"),
        (torch.zeros(2, 2, 2), "Heatmaps of 2 concepts"),
        (torch.zeros(0, 2, 2, 2), "Heatmaps of 2 concepts"),
        (torch.zeros(1, 2, 2, 2, dtype=torch.float16), "float32 on the CPU"),
        (torch.full((1, 2, 2, 2), math.nan), "finite"),
    ],
)
def test_values_that_do_not_fit_are_refused(values: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Heatmaps(values, (Concept("sky", "sky"), Concept("tree", "tree")), "share", (32, 32))


def test_a_video_has_heatmaps_per_latent_frame_and_per_video_frame() -> None:
    recording = replace(make_recording(grid=(3, 2, 4)), frame_counts=(1, 4, 4))
    heatmaps = make_heatmaps(recording)
    assert heatmaps.values.shape == (2, 3, 3, 2, 4) and heatmaps.frame_counts == (1, 4, 4)
    assert heatmaps.frames == (0, 1, 1, 1, 1, 2, 2, 2, 2)
    frames = heatmaps.per_frame()
    assert frames.values.shape == (2, 3, 9, 2, 4) and frames.frames == tuple(range(9))
    for frame, latent in enumerate(heatmaps.frames):
        assert torch.equal(frames.values[:, :, frame], heatmaps.values[:, :, latent])
    assert heatmaps.resized((5, 7)).frame_counts == (1, 4, 4)
    assert make_heatmaps(make_recording()).frames == (0,)
    assert make_heatmaps(make_recording(grid=(3, 2, 4))).frames == (0, 1, 2)


def test_one_token_that_stands_for_several_frames_is_a_video() -> None:
    heatmaps = make_heatmaps(replace(make_recording(), frame_counts=(5,)))
    assert heatmaps.values.shape == (2, 3, 1, 3, 5) and heatmaps.per_frame().values.shape == (2, 3, 5, 3, 5)


@pytest.mark.parametrize("shape", [(1, 1, 2, 3), (1, 1, 2, 2, 3)])
def test_frame_counts_that_do_not_fit_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="one frame count for each of its T"):
        Heatmaps(torch.zeros(shape), (Concept("sky", "sky"),), "share", (32, 32), frame_counts=(1, 4, 4))


def test_heatmaps_are_an_array_to_numpy() -> None:
    heatmaps = make_heatmaps(make_recording())
    array = np.asarray(heatmaps)
    assert array.dtype == np.float32 and np.array_equal(array, heatmaps.values.numpy())
    assert np.array_equal(np.asarray(heatmaps, dtype=np.float64), array.astype(np.float64))
    copied = np.array(heatmaps)
    copied += 1
    assert np.array_equal(np.asarray(heatmaps), array)
    assert float(np.mean(heatmaps)) == pytest.approx(float(heatmaps.values.mean()))  # type: ignore[arg-type]


def test_heatmaps_are_one_short_line() -> None:
    concepts = tuple(Concept(f"thing {number}", "thing") for number in range(7))
    shown = repr(Heatmaps(torch.zeros(2, 7, 3, 4), concepts, "share", (48, 64)))
    assert shown == (
        "<Heatmaps of thing 0, thing 1, thing 2, thing 3, thing 4 and 2 more: "
        "share, values (2, 7, 3, 4), image 64 x 48>"
    )
    assert ", video 64 x 48>" in repr(Heatmaps(torch.zeros(1, 7, 2, 3, 4), concepts, "share", (48, 64)))


def test_layers_and_steps_may_be_one_number() -> None:
    recording = make_recording()
    found = make_heatmaps(recording, layers=5, steps=-1).values
    assert torch.equal(found, make_heatmaps(recording, layers="5", steps="-1").values)


@pytest.mark.parametrize(("recorded", "mode"), [("flux", "cross"), ("cross", "flux"), ("gram", "cross")])
def test_another_reading_needs_another_recording(recorded, mode):
    with pytest.raises(UserError, match=f"Mode {mode} reads .*record again with mode={mode}"):
        make_heatmaps(small_recording(mode=recorded), mode=mode)


def test_shares_of_cross_attention_are_the_concepts_parts_of_it():
    recording = small_recording(mode="cross")
    attention = recording.scores.exp()
    expected = (attention / attention.sum(3, keepdim=True))[:, [0, 1]].mean((0, 1))
    shares = make_heatmaps(recording, layers="all").values.flatten(2)
    torch.testing.assert_close(shares, expected)


@pytest.mark.parametrize("mode", ["cross", "gram"])
def test_presence_of_another_reading_is_refused_with_what_works(mode):
    with pytest.raises(UserError, match="measured by concept attention, and this recording holds .* Use kind=score"):
        make_heatmaps(small_recording(mode=mode), kind="presence")
