"""Recordings of a run against a naive twin that spells out the formulas, in every mode."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from concept_attention.concepts import parse_concepts
from concept_attention.heatmaps.heatmaps import make_heatmaps
from concept_attention.hosts.diffusers.recorder import Recorder
from concept_attention.hosts.encoded import EncodedConcepts
from concept_attention.recording.recording import Recording

from ...support.diffusers.hooks import untouched
from ...support.diffusers.naive_flux import naive_flux
from ...support.diffusers.tiny_transformers import flux_inputs, make_flux
from ...support.numbers import naive_scores, relative_error

CLOSE = 1e-5
GRID = (1, 3, 4)


def encoded(count: int = 3, seed: int = 2, width: int = 128) -> EncodedConcepts:
    embeddings = torch.randn(count, width, generator=torch.Generator().manual_seed(seed))
    return EncodedConcepts(parse_concepts([f"thing {n}" for n in range(count)]), embeddings, (1,) * count, "first")


def record(transformer: Any, *evaluations: dict[str, Any], **options: Any) -> Recording:
    """Every evaluation is one step."""
    dtype = options.pop("dtype", torch.float32)
    concepts, mode = options.pop("concepts", encoded()), options.pop("mode", "auto")
    recorder = Recorder(
        SimpleNamespace(transformer=transformer), concepts, options.pop("layers", "all"), mode, 12, dtype
    )
    with recorder.watching(), torch.no_grad():
        for step, inputs in enumerate(evaluations):
            transformer(**inputs)
            assert recorder.commit(step, 1 - step / 4)
    return recorder.build(GRID, (48, 64), {})


def naive(transformer: Any, inputs: dict[str, Any], pads: int = 0) -> tuple[list[Tensor], list[Tensor]]:
    return naive_flux(transformer, inputs, encoded().embeddings, pads)


def test_raw_scores_equal_a_naive_twin(transformer: Any) -> None:
    steps = [flux_inputs(transformer, seed=seed) for seed in (1, 2)]
    recording = record(transformer, *steps)
    expected = torch.stack([naive_scores(*naive(transformer, inputs)) for inputs in steps])
    assert recording.scores.shape == (2, 3, 2, 3, 12)
    assert relative_error(recording.scores, expected) < CLOSE
    assert recording.pad_scores is None and recording.mode == "flux"
    shares = torch.softmax(expected[:, 1:], dim=3).mean((0, 1)).reshape(2, 3, 3, 4)  # the last two layers
    assert recording.default_layers == (1, 2)
    assert relative_error(make_heatmaps(recording).values, shares) < CLOSE


def test_the_papers_scores_equal_a_naive_twin(transformer: Any) -> None:
    """Concept vectors are normalised per feature over the concepts: (c - min) / sum (c - min)."""
    inputs = flux_inputs(transformer)
    images, concepts = naive(transformer, inputs)
    normalised = []
    for concept in concepts:
        spread = concept - concept.min(dim=1, keepdim=True).values
        normalised.append(spread / spread.sum(dim=1, keepdim=True))
    recording = record(transformer, inputs, mode="paper")
    assert relative_error(recording.scores[0], naive_scores(images, normalised)) < CLOSE


def test_norms_make_the_scores_of_normalised_vectors(transformer: Any) -> None:
    inputs = flux_inputs(transformer)
    images, concepts = naive(transformer, inputs)
    units = [concept / concept.square().sum(-1, keepdim=True).sqrt() for concept in concepts]
    recording = record(transformer, inputs)
    expected = naive_scores(images, units)
    assert relative_error(recording.scores[0] / recording.norms[0, ..., None], expected) < CLOSE
    shares = torch.softmax(expected, dim=2).mean(0).reshape(2, 3, 3, 4)
    assert relative_error(make_heatmaps(recording, "all", mode="sd3").values, shares) < CLOSE


def test_padded_concepts_equal_226_real_tokens(transformer: Any) -> None:
    """The reference pads with zero embeddings that attend, are attended to, and take their share."""
    inputs = flux_inputs(transformer)
    expected = naive_scores(*naive(transformer, inputs, pads=223))
    recording = record(transformer, inputs, mode="cogvideox")
    assert recording.pad_count == 223 and recording.pad_scores is not None
    assert relative_error(recording.scores[0], expected[:, :, :3]) < CLOSE
    assert relative_error(recording.pad_scores[0], expected[:, :, 3]) < CLOSE
    shares = torch.softmax(expected, dim=2)[:, :, :3].mean(0).reshape(2, 3, 3, 4)
    assert relative_error(make_heatmaps(recording, "all").values, shares) < CLOSE


def test_pads_do_change_the_scores() -> None:
    """Else the test above would pass without them."""
    transformer = make_flux()
    inputs = flux_inputs(transformer)
    with_pads, without = record(transformer, inputs, mode="cogvideox"), record(transformer, inputs)
    assert relative_error(with_pads.scores, without.scores) > 100 * CLOSE


def test_permuted_concepts_permute_the_maps() -> None:
    transformer = make_flux()
    inputs = flux_inputs(transformer)
    order, some = [2, 0, 1], encoded()
    permuted = EncodedConcepts(tuple(some.concepts[i] for i in order), some.embeddings[order], (1, 1, 1), "first")
    plain, moved = record(transformer, inputs), record(transformer, inputs, concepts=permuted)
    assert relative_error(moved.scores, plain.scores[:, :, :, order]) < CLOSE
    maps, moved_maps = make_heatmaps(plain).values, make_heatmaps(moved).values
    assert relative_error(moved_maps, maps[:, order]) < CLOSE
    assert relative_error(moved_maps, maps) > 0.1
    assert (maps.sum(1) - 1).abs().max() < 1e-6


@pytest.mark.parametrize("layers, kept", [("0", (0,)), ([2, 0], (0, 2)), ("auto", (1, 2)), ("all", (0, 1, 2))])
def test_a_choice_of_layers_equals_those_of_the_full_recording(layers: Any, kept: tuple[int, ...]) -> None:
    transformer = make_flux()
    inputs = flux_inputs(transformer)
    some, full = record(transformer, inputs, layers=layers), record(transformer, inputs)
    assert (some.layers, some.layer_count) == (kept, 3)
    assert torch.equal(some.scores, full.scores[:, list(kept)])
    assert torch.equal(some.norms, full.norms[:, list(kept)])


def test_concepts_are_done_after_the_last_kept_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    transformer = make_flux()
    used: Counter[int] = Counter()
    for index, block in enumerate(transformer.transformer_blocks):
        forward = block.attn.add_k_proj.forward

        def counting(x: Tensor, index: int = index, forward: Any = forward) -> Tensor:
            used[index] += 1
            return forward(x)

        monkeypatch.setattr(block.attn.add_k_proj, "forward", counting)
    record(transformer, flux_inputs(transformer), layers="1")
    assert [used[layer] for layer in range(3)] == [2, 2, 1]  # the prompt's, and the concepts'


def test_a_batch_equals_single_images(transformer: Any) -> None:
    inputs = flux_inputs(transformer, batch=2)
    batch = record(transformer, inputs)
    shared = ("img_ids", "txt_ids")
    for image in range(2):
        alone = {
            name: value[image : image + 1] if isinstance(value, Tensor) and name not in shared else value
            for name, value in inputs.items()
        }
        single = record(transformer, alone)
        assert relative_error(single.scores[:, :, 0], batch.scores[:, :, image]) < CLOSE


def test_tokens_of_a_reference_image_are_attended_to_and_not_mapped() -> None:
    transformer = make_flux()
    inputs = flux_inputs(transformer, rows=5, columns=4)  # 12 tokens of the image, 8 of a reference
    recording = record(transformer, inputs)
    expected = naive_scores(*naive(transformer, inputs))
    assert recording.scores.shape[-1] == 12
    assert relative_error(recording.scores[0], expected[..., :12]) < CLOSE
    cut = {**inputs, "hidden_states": inputs["hidden_states"][:, :12], "img_ids": inputs["img_ids"][:12]}
    assert relative_error(record(transformer, cut).scores, recording.scores) > 100 * CLOSE


@pytest.mark.parametrize("mode", ["flux", "cogvideox"])
def test_a_bfloat16_model_gives_float32_scores_close_to_a_float32_models(mode: str) -> None:
    transformer = make_flux()
    # Timesteps of 500 and 250, which bfloat16 can hold: a rounded one is another noise level.
    inputs = {**flux_inputs(transformer), "timestep": torch.tensor([0.5, 0.25])}
    exact = record(transformer, inputs, mode=mode)
    half = {k: v.bfloat16() if isinstance(v, Tensor) and "ids" not in k else v for k, v in inputs.items()}
    recording = record(transformer.bfloat16(), half, mode=mode)
    assert recording.scores.dtype == torch.float32
    assert relative_error(recording.scores, exact.scores) < 0.03
    # Products of bfloat16 numbers in float32: hardly any of them is a bfloat16 number.
    assert (recording.scores.bfloat16().float() != recording.scores).float().mean() > 0.9


def test_float16_scores_on_request() -> None:
    transformer = make_flux()
    inputs = flux_inputs(transformer)
    full, half = record(transformer, inputs), record(transformer, inputs, dtype=torch.float16)
    assert half.scores.dtype == torch.float16
    torch.testing.assert_close(half.at().scores, full.scores, atol=0.02, rtol=0)


def test_only_the_first_evaluation_of_a_step_is_recorded() -> None:
    transformer = make_flux()
    first, second, third = (flux_inputs(transformer, seed=seed) for seed in (1, 2, 3))
    recorder = Recorder(SimpleNamespace(transformer=transformer), encoded(), "all", "auto", 12)
    with recorder.watching(), torch.no_grad():
        transformer(**first)
        transformer(**second)
        assert recorder.commit(0, 1.0)
        assert not recorder.commit(1, 0.5)  # a step that a cache skipped
        transformer(**third)
        transformer(**second)
        assert recorder.commit(2, 0.25)
    recording = recorder.build(GRID, (48, 64), {})
    assert (recording.steps, recording.sigmas) == ((0, 2), (1.0, 0.25))
    assert torch.equal(recording.scores, record(transformer, first, third).scores)


def test_a_run_that_evaluated_nothing_has_no_recording() -> None:
    recorder = Recorder(SimpleNamespace(transformer=make_flux()), encoded(), "all", "auto", 12)
    with pytest.raises(ValueError, match="Nothing was recorded"):
        recorder.build(GRID, (48, 64), {})


def test_the_metadata_say_what_was_recorded() -> None:
    transformer = make_flux()
    recorder = Recorder(SimpleNamespace(transformer=transformer), encoded(2), "all", "auto", 12)
    with recorder.watching(), torch.no_grad():
        transformer(**flux_inputs(transformer))
    recorder.commit(0, 1.0)
    found = recorder.build(GRID, (48, 64), {"prompt": "a house"})
    assert (found.architecture, found.grid, found.image_size) == ("flux", GRID, (48, 64))
    assert (found.layer_count, found.default_layers) == (3, (1, 2))
    assert found.metadata["prompt"] == "a house"
    assert (found.metadata["pooling"], found.metadata["concept_tokens"]) == ("first", "thing 0: 1, thing 1: 1")
    assert f"torch {torch.__version__}" in found.metadata["versions"]


@pytest.mark.parametrize(
    "options, message",
    [
        ({"layers": "3"}, r"^Layer 3 does not exist: this model has 3 joint blocks \(0-2\)"),
        ({"mode": "sdxl"}, r"^Mode 'sdxl' does not exist"),
        ({"concepts": encoded(width=96)}, r"^Concept embeddings have width 96, but this model expects 128\. "),
        ({"dtype": torch.int8}, "float32 or float16"),
    ],
)
def test_what_cannot_be_recorded_is_refused_before_the_run(options: dict[str, Any], message: str) -> None:
    transformer = make_flux()
    with pytest.raises(ValueError, match=message) as error:
        record(transformer, **options)
    assert "\n" not in str(error.value)
    assert untouched(transformer)
