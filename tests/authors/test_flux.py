"""The authors' interface: what it asks of the model, and that its heatmaps are those of the recording."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from concept_attention import ConceptAttentionFluxPipeline
from concept_attention.authors import base
from concept_attention.concepts import parse_concepts
from concept_attention.heatmaps.heatmaps import make_heatmaps
from concept_attention.hosts.diffusers.analysis import analyze
from concept_attention.hosts.diffusers.generation import generate
from concept_attention.hosts.diffusers.pipelines.flux import FluxFamily
from concept_attention.hosts.diffusers.pipelines.request import Defaults

from ..support.diffusers.tiny_transformers import make_flux
from ..support.numbers import relative_error

CONCEPTS = ["house", "a red tree", "sky"]
DEFAULTS = Defaults(side=64, steps=2, guidance=0.0, cfg=1.0, max_tokens=12)


@pytest.fixture(autouse=True)
def small_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    """Images of 64 x 64 in two steps, where a real Flux has 1024 x 1024 in four."""
    for name in ("hosts.diffusers.analysis", "hosts.diffusers.generation", "authors.base"):
        monkeypatch.setattr(f"concept_attention.{name}.defaults_for", lambda pipeline: DEFAULTS)


@pytest.fixture
def ours(schnell: Any) -> ConceptAttentionFluxPipeline:
    return ConceptAttentionFluxPipeline(pipeline=schnell)


def make_image(width: int = 64, height: int = 48) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC)


def drawn(values: Tensor, size: tuple[int, int]) -> list[np.ndarray]:
    """Min-max over all concepts, enlarged to (width, height) by another library, then plasma."""
    from matplotlib import colormaps

    values = (values - values.min()) / (values.max() - values.min())
    planes = [Image.fromarray(one.numpy()).resize(size, Image.Resampling.BILINEAR) for one in values]
    return [colormaps["plasma"](np.asarray(plane))[..., :3] * 255 for plane in planes]


def test_a_generated_image_and_its_recording_are_those_of_generate(
    ours: ConceptAttentionFluxPipeline, schnell: Any
) -> None:
    found = ours.generate_image("a red house", CONCEPTS, width=96, height=64, seed=3)
    expected = generate(schnell, "a red house", parse_concepts(CONCEPTS), width=96, height=64, seed=3, pooling="first")
    assert found.image.tobytes() == expected.images[0].tobytes()
    assert torch.equal(found.recording.scores, expected.recording.scores)
    assert found.recording.layers == (0, 1, 2) and found.recording.metadata["pooling"] == "first"


def test_heatmaps_are_the_recordings_after_a_min_max_over_all_concepts(ours: ConceptAttentionFluxPipeline) -> None:
    found = ours.generate_image("a red house", CONCEPTS, width=96, height=64)
    shares = make_heatmaps(found.recording).values[0]
    assert len(found.concept_heatmaps) == 3
    for image, expected in zip(found.concept_heatmaps, drawn(shares, (96, 64)), strict=True):
        assert (image.mode, image.size) == ("RGB", (96, 64))
        assert np.abs(np.asarray(image, dtype=float) - expected).max() <= 3  # of 255: one level of the colour map


def test_values_sum_to_one_over_the_concepts(ours: ConceptAttentionFluxPipeline) -> None:
    found = ours.generate_image("a red house", CONCEPTS, width=96, height=64, return_pil_heatmaps=False)
    assert isinstance(found.concept_heatmaps, Tensor)
    assert torch.equal(found.concept_heatmaps, make_heatmaps(found.recording).values[0])
    assert found.concept_heatmaps.shape == (3, 4, 6)
    assert (found.concept_heatmaps.sum(0) - 1).abs().max() < 1e-6


def test_layers_and_steps_are_chosen_and_all_are_recorded(ours: ConceptAttentionFluxPipeline) -> None:
    options: dict[str, Any] = {"width": 64, "height": 48, "num_inference_steps": 3, "return_pil_heatmaps": False}
    some = ours.generate_image("a tree", CONCEPTS, layer_indices=[0], timesteps=[1, 2], **options)
    scores = some.recording.scores
    assert scores.shape[:2] == (3, 3)
    expected = torch.softmax(scores[1:, 0, 0], dim=1).mean(0).reshape(3, 3, 4)
    torch.testing.assert_close(some.concept_heatmaps, expected, rtol=1e-5, atol=1e-6)
    usual = ours.generate_image("a tree", CONCEPTS, **options).concept_heatmaps
    expected = torch.softmax(scores[:, 1:, 0], dim=2).mean((0, 1)).reshape(3, 3, 4)
    torch.testing.assert_close(usual, expected, rtol=1e-5, atol=1e-6)


def test_without_softmax_the_raw_scores_are_averaged(ours: ConceptAttentionFluxPipeline) -> None:
    options: dict[str, Any] = {"width": 64, "height": 48, "softmax": False}
    values = ours.generate_image("a tree", CONCEPTS, return_pil_heatmaps=False, **options)
    expected = values.recording.scores[:, 1:, 0].mean((0, 1)).reshape(3, 3, 4)
    torch.testing.assert_close(values.concept_heatmaps, expected)
    for image, wanted in zip(
        ours.generate_image("a tree", CONCEPTS, **options).concept_heatmaps, drawn(expected, (64, 48)), strict=True
    ):
        assert np.abs(np.asarray(image, dtype=float) - wanted).max() <= 3


def test_one_concept_alone_is_drawn_by_its_score(ours: ConceptAttentionFluxPipeline) -> None:
    found = ours.generate_image("a house", ["house"], width=64, height=48)
    scores = make_heatmaps(found.recording, kind="score").values[0]
    (image,) = found.concept_heatmaps
    assert np.abs(np.asarray(image, dtype=float) - drawn(scores, (64, 48))[0]).max() <= 3


def test_pooling_guidance_and_colour_map_are_passed_on(schnell: Any) -> None:
    ours = ConceptAttentionFluxPipeline(pipeline=schnell)
    first, whole = (
        ours.generate_image("a tree", CONCEPTS, pooling=pooling).recording.scores for pooling in ("first", "auto")
    )
    assert relative_error(whole, first) > 0.01
    schnell.transformer = make_flux(guidance=True)
    weak, strong = (ours.generate_image("a tree", CONCEPTS, guidance=g).recording.scores for g in (0.0, 5.0))
    assert relative_error(strong, weak) > 0.01
    grey = ours.generate_image("a tree", CONCEPTS, cmap="gray").concept_heatmaps[0]
    assert all(len(set(pixel)) == 1 for pixel in np.asarray(grey).reshape(-1, 3).tolist())


def test_an_encoded_image_is_that_of_analyze(ours: ConceptAttentionFluxPipeline, schnell: Any) -> None:
    found = ours.encode_image(make_image(), CONCEPTS, prompt="a house", seed=2)
    expected = analyze(
        schnell, make_image(), parse_concepts(CONCEPTS), prompt="a house", noise=0.5, seed=2, pooling="first"
    )
    assert torch.equal(found.recording.scores, expected.scores)
    assert found.recording.grid == (1, 3, 5)  # 64 x 48 at an area of 64 x 64
    assert found.image.tobytes() == make_image().tobytes()
    for image, wanted in zip(found.concept_heatmaps, drawn(make_heatmaps(expected).values[0], (64, 48)), strict=True):
        assert np.abs(np.asarray(image, dtype=float) - wanted).max() <= 3


def test_samples_are_really_averaged(ours: ConceptAttentionFluxPipeline) -> None:
    options: dict[str, Any] = {"width": 64, "height": 48, "layer_indices": [1, 2], "return_pil_heatmaps": False}
    several = ours.encode_image(make_image(), CONCEPTS, num_samples=2, seed=5, **options).concept_heatmaps
    first, second = (
        ours.encode_image(make_image(), CONCEPTS, seed=seed, **options).concept_heatmaps for seed in (5, 6)
    )
    assert relative_error(several, (first + second) / 2) < 1e-5
    assert relative_error(several, first) > 0.01


@pytest.mark.parametrize("num_steps, step, sigma", [(4, 2, 0.5), (4, 0, 1.0), (4, 3, 0.25), (10, 4, 0.6)])
def test_the_noise_level_is_that_of_a_step(
    ours: ConceptAttentionFluxPipeline, num_steps: int, step: int, sigma: float
) -> None:
    found = ours.encode_image(make_image(), CONCEPTS, num_steps=num_steps, noise_timestep=step)
    assert found.recording.sigmas == pytest.approx((sigma,))


@pytest.mark.parametrize("tokens, sigma", [(4096, 0.7595), (256, 0.6225)])
def test_the_noise_level_of_dev_is_shifted_with_the_size(tokens: int, sigma: float) -> None:
    from diffusers import FlowMatchEulerDiscreteScheduler

    dev = FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True, base_shift=0.5, max_shift=1.15, shift=3.0)
    dev.set_timesteps(3, mu=1.0)
    before = dev.sigmas.clone()
    assert FluxFamily().schedule_sigma(SimpleNamespace(scheduler=dev), 4, 2, tokens) == pytest.approx(sigma, abs=1e-4)
    assert torch.equal(dev.sigmas, before)


def test_a_turned_photograph_is_mapped_upright(ours: ConceptAttentionFluxPipeline) -> None:
    turned = make_image(48, 64).transpose(Image.Transpose.ROTATE_90)
    turned.getexif()[0x0112] = 6  # shown rotated by 90 degrees clockwise
    found = ours.encode_image(turned, CONCEPTS)
    assert found.image.size == (48, 64) and found.recording.image_size == (64, 48)
    assert [image.size for image in found.concept_heatmaps] == [(48, 64)] * 3
    upright = ours.encode_image(make_image(48, 64), CONCEPTS)
    assert torch.equal(found.recording.scores, upright.recording.scores)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"layer_indices": [19]}, r"^Layer 19 does not exist"),
        ({"layer_indices": []}, r"^`layers` selects nothing"),
        ({"timesteps": [2]}, r"^Step 2 does not exist: there are 2 steps"),
        ({"cmap": "rainbows"}, r"^Unknown colour map 'rainbows'"),
        ({"prompt": ["a", "b"]}, r"^One prompt at a time, got list\."),
        ({"concepts": []}, r"^There are no concepts"),
        ({"concepts": "house"}, r"^Concepts are a list of texts, got one text\."),
        ({"concepts": [1]}, r"^A concept is a text, got int\."),
    ],
)
def test_what_cannot_be_generated_is_refused_before_the_model_runs(
    ours: ConceptAttentionFluxPipeline, captured: Any, options: dict[str, Any], message: str
) -> None:
    calls = captured(ours.pipeline.transformer)
    with pytest.raises(ValueError, match=message):
        ours.generate_image(**{"prompt": "a house", "concepts": CONCEPTS, **options})
    assert not calls


@pytest.mark.parametrize(
    "options, message",
    [
        ({"noise_timestep": 4}, r"^noise_timestep 4 does not exist: a schedule of num_steps=4 has 0 to 3\.$"),
        ({"noise_timestep": -1}, r"^noise_timestep -1 does not exist"),
        ({"num_steps": 0, "noise_timestep": 0}, r"^There must be at least one step, got num_steps=0\.$"),
        ({"num_samples": 0}, r"^There must be at least one noise sample"),
        ({"layer_indices": [-1]}, r"^Layer -1 does not exist"),
        ({"image": [make_image()]}, r"^One image at a time, got list\."),
        ({"cmap": ""}, r"^Unknown colour map ''"),
    ],
)
def test_what_cannot_be_encoded_is_refused_before_the_model_runs(
    ours: ConceptAttentionFluxPipeline, captured: Any, options: dict[str, Any], message: str
) -> None:
    calls = captured(ours.pipeline.transformer)
    with pytest.raises(ValueError, match=message):
        ours.encode_image(**{"image": make_image(), "concepts": CONCEPTS, **options})
    assert not calls


def test_arguments_that_change_nothing_are_accepted(ours: ConceptAttentionFluxPipeline) -> None:
    plain = ours.encode_image(make_image(), CONCEPTS)
    named = ours.encode_image(
        make_image(), CONCEPTS, device="cuda:0", stop_after_multi_modal_attentions=False, cache_vectors=False
    )
    assert torch.equal(named.recording.scores, plain.recording.scores)
    assert ours.generate_image("a tree", CONCEPTS, cache_vectors=False, return_cross_attention=False).image


def test_the_constructor_loads_what_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    class FluxPipeline:
        def __init__(self, *args: Any) -> None:
            asked.append(args)

    monkeypatch.setattr(base, "load_pipeline", FluxPipeline)
    ConceptAttentionFluxPipeline()
    ConceptAttentionFluxPipeline(model_name="tiny", device="cuda:0", offload_model=True)
    assert asked == [
        ("flux-schnell", "auto", "auto", "none"),
        ("tiny", "cuda:0", "auto", "model"),
    ]
