"""The builder: what it keeps of a run, in which precision, and what it refuses."""

import logging
import math

import pytest
import torch
from torch import Tensor

from concept_attention.concepts import parse_concepts
from concept_attention.errors import UserError
from concept_attention.recording.builder import RecordingBuilder
from concept_attention.recording.recording import Recording, recording_nbytes

MIB = 2**20


def describe(layers=(1, 3), names="a,b,c", grid=(1, 2, 3), **more) -> dict:
    return {
        "layer_count": max(layers) + 1,
        "default_layers": layers,
        "grid": grid,
        "image_size": (16 * grid[1], 16 * grid[2]),
        "architecture": "flux",
        "mode": "flux",
        "concepts": parse_concepts(names),
        **more,
    }


def test_float16_takes_three_fifths_and_float32_of_a_full_run_fits_in_45_mib():
    def full(dtype: torch.dtype) -> Recording:
        builder = RecordingBuilder(range(19), dtype)
        for step in range(28):
            for layer in range(19):
                builder.add_layer(layer, torch.full((1, 5, 4096), float(step)), torch.ones(1, 5))
            builder.commit(step, 1 - step / 28)
        return builder.build(**describe(tuple(range(19)), "a,b,c,d,e", (1, 64, 64)))

    whole, half = full(torch.float32), full(torch.float16)
    assert whole.nbytes == recording_nbytes(28, 19, 1, 5, 4096, torch.float32) <= 45 * MIB
    assert half.nbytes == recording_nbytes(28, 19, 1, 5, 4096, torch.float16) <= 45 * MIB * 0.6
    for recording in (whole, half):
        tensors = (recording.scores, recording.norms, recording.offsets)
        storages = (tensor.untyped_storage().nbytes() for tensor in tensors if tensor is not None)
        assert sum(storages) == recording.nbytes  # no view keeps something larger alive
    assert whole.scores.dtype == torch.float32 and half.scores.dtype == torch.float16
    assert half.at().scores[:, 0, 0, 0, 0].tolist() == list(range(28))


def deliver(builder: RecordingBuilder, layers=(1, 3), seed=0, size=(2, 3, 6), pads=False) -> list[Tensor]:
    """One evaluation; returns what was delivered, with the layers as first axis."""
    generator = torch.Generator().manual_seed(seed)
    batch, concepts, tokens = size
    shapes = [(batch, concepts, tokens), (batch, concepts)] + [(batch, tokens)] * pads
    tensors = [torch.rand(len(layers), *shape, generator=generator) for shape in shapes]
    builder.begin_evaluation()
    for index, layer in enumerate(layers):
        builder.add_layer(layer, *(tensor[index] for tensor in tensors))
    return tensors


@pytest.mark.parametrize("pads", [False, True])
def test_a_builder_keeps_every_step_and_layer(pads):
    builder = RecordingBuilder([3, 1])
    first = deliver(builder, seed=1, pads=pads)
    assert builder.commit(0, 1.0)
    second = deliver(builder, (3, 1), seed=2, pads=pads)  # in whatever order the blocks come
    assert builder.commit(2, 0.5)
    assert builder.committed == 2
    recording = builder.build(**describe(pad_count=223 if pads else 0, metadata={"seed": "1"}))
    names = ("scores", "norms", "pad_scores") if pads else ("scores", "norms")
    for name, one, two in zip(names, first, second, strict=True):
        assert torch.equal(getattr(recording, name), torch.stack([one, two.flip(0)])), name
    assert (recording.layers, recording.steps, recording.sigmas) == ((1, 3), (0, 2), (1.0, 0.5))
    assert recording.metadata == {"seed": "1"} and recording.default_layers == (1, 3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_steps_before_the_latent_grows_are_brought_to_its_size(dtype):
    builder = RecordingBuilder([1, 3], dtype)
    scores, norms, pads = deliver(builder, seed=1, pads=True)
    builder.commit(0, 1.0)
    builder.resize((1, 2, 3), (1, 4, 6))
    later = deliver(builder, seed=2, size=(2, 3, 24), pads=True)
    builder.commit(1, 0.5)
    recording = builder.build(**describe(grid=(1, 4, 6), pad_count=223)).at()
    expected = torch.nn.functional.interpolate(scores.reshape(12, 1, 2, 3), size=(4, 6), mode="bilinear")
    assert torch.allclose(recording.scores[0].flatten(), expected.flatten(), atol=1e-6 if dtype.itemsize == 4 else 1e-3)
    expected = torch.nn.functional.interpolate(pads.reshape(4, 1, 2, 3), size=(4, 6), mode="bilinear")
    assert torch.allclose(recording.pad_scores[0].float().flatten(), expected.flatten(), atol=1e-3)
    assert torch.allclose(recording.scores[1], later[0], atol=1e-3) and torch.equal(recording.norms[0], norms)


def test_the_latest_evaluation_of_a_step_counts():
    builder = RecordingBuilder([1, 3])
    deliver(builder, seed=1)
    latest = deliver(builder, seed=2)
    builder.commit(0, 1.0)
    assert torch.equal(builder.build(**describe()).scores[0], latest[0])


def test_steps_that_a_cache_skipped_are_left_out():
    builder = RecordingBuilder([1, 3])
    assert not builder.commit(0, 1.0)
    deliver(builder, seed=1)
    assert builder.commit(1, 0.75)
    assert not builder.commit(2, 0.5)  # nothing new since
    deliver(builder, (1,), seed=2)
    assert not builder.commit(3, 0.25)  # only one layer
    builder.add_layer(3, torch.zeros(2, 3, 6), torch.zeros(2, 3))
    assert not builder.commit(4, 0.0)  # the other layer is not carried over
    assert builder.committed == 1 and builder.build(**describe()).steps == (1,)


def test_rows_that_are_no_images_are_left_out_of_an_evaluation():
    builder, scores = RecordingBuilder((1, 3)), torch.arange(4 * 3 * 6.0).view(4, 3, 6)
    for layer in (1, 3):
        builder.add_layer(layer, scores + layer, torch.arange(12.0).view(4, 3))
    builder.keep_rows(slice(-2, None))
    assert builder.commit(0, 1.0)
    recording = builder.build(**describe())
    assert torch.equal(recording.scores[0], torch.stack([scores[2:] + 1, scores[2:] + 3]))
    assert torch.equal(recording.norms[0, 0], torch.arange(6.0, 12).view(2, 3))


def test_begin_evaluation_forgets_an_evaluation_that_stopped_half_way():
    builder = RecordingBuilder([1, 3])
    deliver(builder, (1, 3), seed=1)
    builder.begin_evaluation()
    assert not builder.commit(0, 1.0)


def test_what_is_delivered_holds_no_graph_and_any_float_dtype_becomes_float32():
    builder = RecordingBuilder([0])
    scores = torch.randn(1, 2, 4, dtype=torch.bfloat16, requires_grad=True)
    builder.add_layer(0, scores, scores.norm(dim=-1))
    builder.commit(0, 1.0)
    recording = builder.build(**describe((0,), "a,b", (1, 2, 2)))
    assert recording.scores.dtype == torch.float32
    assert torch.equal(recording.scores[0, 0], scores.detach().float())


def test_a_recording_made_in_inference_mode_can_be_used_outside():
    with torch.inference_mode():
        builder = RecordingBuilder([1, 3])
        deliver(builder)
        builder.commit(0, 1.0)
    assert builder.build(**describe()).scores.clone().requires_grad_().requires_grad


@pytest.mark.parametrize("pads", [False, True])
def test_float16_that_would_overflow_stays_float32_and_nothing_is_lost(caplog, pads):
    builder = RecordingBuilder([1, 3], torch.float16)
    first = deliver(builder, seed=1, pads=pads)
    builder.commit(0, 1.0)
    second = deliver(builder, seed=2, pads=pads)
    second[-1 if pads else 0][0, 1].view(-1)[4] = -65_520.0  # the first number that float16 rounds to infinity
    builder.commit(1, 0.5)
    third = deliver(builder, seed=3, pads=pads)
    with caplog.at_level(logging.WARNING, "concept_attention"):
        builder.commit(2, 0.25)
    recording = builder.build(**describe(pad_count=9 if pads else 0))
    assert recording.scores.dtype == torch.float32
    assert torch.equal(recording.scores[1:], torch.stack([second[0], third[0]]))
    torch.testing.assert_close(recording.scores[0], first[0], atol=5e-4, rtol=0)  # was float16 until then
    if pads:
        assert recording.pad_scores is not None
        assert torch.equal(recording.pad_scores[1:], torch.stack([second[2], third[2]]))


def test_the_float16_fallback_is_logged_once(caplog):
    builder = RecordingBuilder([0], torch.float16)
    with caplog.at_level(logging.WARNING, "concept_attention"):
        for step in range(3):
            builder.add_layer(0, torch.full((1, 1, 4), 70_000.0), torch.ones(1, 1))
            builder.commit(step, 0.5)
    assert [record.message for record in caplog.records] == [
        "Scores reach 7e+04, beyond float16: the recording stays in float32."
    ]


def test_float16_holds_its_largest_number():
    builder = RecordingBuilder([0], torch.float16)
    builder.add_layer(0, torch.full((1, 1, 4), -65_504.0), torch.full((1, 1), 1e6))
    builder.commit(0, 0.5)
    recording = builder.build(**describe((0,), "a", (1, 2, 2)))
    assert recording.scores.dtype == torch.float16 and recording.norms.item() == 1e6


def test_nothing_recorded_is_an_error_that_says_so():
    builder = RecordingBuilder([1, 3])
    with pytest.raises(UserError, match=r"Nothing was recorded.*layers \(1, 3\)"):
        builder.build(**describe())


def test_a_built_recording_is_handed_over():
    builder = RecordingBuilder([1, 3])
    deliver(builder)
    builder.commit(0, 1.0)
    recording = builder.build(**describe())
    assert builder.committed == 0
    with pytest.raises(ValueError, match="Nothing was recorded"):
        builder.build(**describe())
    assert math.isfinite(float(recording.scores.sum()))


def test_not_finite_scores_are_an_error_and_never_a_recording():
    builder = RecordingBuilder([0], torch.float16)
    builder.add_layer(0, torch.tensor([[[1.0, math.nan]]]), torch.ones(1, 1))
    builder.commit(0, 0.5)
    with pytest.raises(ValueError, match="scores must be finite"):
        builder.build(**describe((0,), "a", (1, 1, 2)))


@pytest.mark.parametrize(
    "shapes",
    [[(2, 3, 6), (2, 4)], [(2, 3, 6), (3, 3)], [(3, 6), (3,)], [(2, 3, 6), (2, 3), (2, 5)]],
)
def test_a_layer_of_wrong_shapes_is_an_error_that_shows_them(shapes):
    with pytest.raises(ValueError, match=r"scores \(B, C, N\)") as error:
        RecordingBuilder([0]).add_layer(0, *map(torch.zeros, shapes))
    assert str(shapes[1]) in str(error.value)


def test_a_layer_that_is_not_kept_is_an_error():
    with pytest.raises(ValueError, match=r"Layer 2 is not recorded.*\(1, 3\)"):
        RecordingBuilder([1, 3]).add_layer(2, torch.zeros(1, 1, 1), torch.zeros(1, 1))


def test_a_size_that_changes_during_a_run_is_an_error():
    builder = RecordingBuilder([1, 3])
    deliver(builder)
    builder.commit(0, 1.0)
    deliver(builder, size=(1, 3, 6))
    with pytest.raises(ValueError, match="must not change.*step 1"):
        builder.commit(1, 0.5)


@pytest.mark.parametrize(("layers", "dtype"), [((), torch.float32), ((0,), torch.bfloat16)])
def test_a_builder_needs_layers_and_a_dtype_that_files_hold(layers, dtype):
    with pytest.raises(ValueError, match="layers, and float32 or float16"):
        RecordingBuilder(layers, dtype)
