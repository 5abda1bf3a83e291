"""The authors' interfaces for SD3, Flux 2 and CogVideoX: what is asked of the model, and whose heatmaps come back."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import concept_attention
from concept_attention.authors import base
from concept_attention.concepts import parse_concepts
from concept_attention.heatmaps.heatmaps import make_heatmaps
from concept_attention.hosts.diffusers.encode import encode_concepts
from concept_attention.hosts.diffusers.generation import generate

from ..support.diffusers.small_pipelines import make_cogvideox_pipeline, make_flux2_pipeline, make_sd3_pipeline

CONCEPTS = ["house", "a red tree", "sky"]
SIZE: dict[str, Any] = {"width": 64, "height": 48}
IMAGE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8))


@pytest.fixture(scope="module")
def sd3(random_pipeline: Any) -> Any:
    return concept_attention.ConceptAttentionSD3Pipeline(pipeline=make_sd3_pipeline(random_pipeline))


@pytest.fixture(scope="module")
def flux2(random_pipeline: Any) -> Any:
    return concept_attention.ConceptAttentionFlux2Pipeline(pipeline=make_flux2_pipeline(random_pipeline))


@pytest.fixture(scope="module")
def cogvideox(random_pipeline: Any) -> Any:
    return concept_attention.ConceptAttentionCogVideoXPipeline(pipeline=make_cogvideox_pipeline(random_pipeline))


def drawn(values: torch.Tensor) -> np.ndarray:
    """Min-max over all concepts (and frames), enlarged by another library, then plasma; (..., 48, 64, 3)."""
    from matplotlib import colormaps

    values = (values - values.min()) / (values.max() - values.min())
    planes = [Image.fromarray(one.numpy()).resize((64, 48), Image.Resampling.BILINEAR) for one in values.flatten(0, -3)]
    return np.stack([colormaps["plasma"](np.asarray(plane))[..., :3] * 255 for plane in planes])


@pytest.mark.parametrize(
    "method, names",
    [
        (
            concept_attention.ConceptAttentionSD3Pipeline.generate_image,
            "prompt concepts height width num_inference_steps guidance_scale seed layer_indices timestep_indices "
            "return_pil_heatmaps softmax cmap cache_vectors",
        ),
        (
            concept_attention.ConceptAttentionSD3Pipeline.encode_image,
            "image prompt concepts height width num_inference_steps timestep_index layer_indices seed "
            "return_pil_heatmaps softmax cmap cache_vectors",
        ),
        (
            concept_attention.ConceptAttentionFlux2Pipeline.generate_image,
            "prompt concepts width height num_inference_steps guidance seed layer_indices timesteps "
            "return_pil_heatmaps softmax softmax_temperature cmap cache_vectors",
        ),
        (
            concept_attention.ConceptAttentionFlux2Pipeline.encode_image,
            "image concepts prompt width height layer_indices num_steps noise_timestep seed "
            "return_pil_heatmaps softmax softmax_temperature cmap cache_vectors",
        ),
        (
            concept_attention.ConceptAttentionCogVideoXPipeline.generate_video,
            "prompt negative_prompt concepts height width num_frames num_inference_steps guidance_scale "
            "concept_attention_kwargs cache_vectors layer_indices timestep_indices",
        ),
    ],
)
def test_arguments_have_the_authors_names_and_order(method: Any, names: str) -> None:
    parameters = inspect.signature(method).parameters.values()
    assert [one.name for one in parameters if one.kind is one.POSITIONAL_OR_KEYWORD] == ["self", *names.split()]


def test_sd3_generates_in_its_own_mode(sd3: Any) -> None:
    options: dict[str, Any] = {"num_inference_steps": 3, "guidance_scale": 2.0, "seed": 3, **SIZE}
    found = sd3.generate_image("a house", CONCEPTS, layer_indices=[0, 2], timestep_indices=[1, 2], **options)
    run = generate(sd3.pipeline, "a house", parse_concepts(CONCEPTS), steps=3, cfg=2.0, seed=3, **SIZE)
    assert found.image.tobytes() == run.images[0].tobytes()
    units = run.recording.scores[1:, [0, 2], 0] / run.recording.norms[1:, [0, 2], 0, :, None]
    shares = torch.softmax(units, dim=2).mean((0, 1)).reshape(3, 3, 4)
    for image, expected in zip(found.concept_heatmaps, drawn(shares), strict=True):
        assert np.abs(np.asarray(image, dtype=float) - expected).max() <= 3
    values = sd3.generate_image("a house", CONCEPTS, return_pil_heatmaps=False, **options).concept_heatmaps
    assert torch.equal(values, make_heatmaps(run.recording).values[0])  # all layers and steps


def test_sd3_reads_by_clip_and_draws_seeds_if_asked(sd3: Any) -> None:
    options: dict[str, Any] = {"num_inference_steps": 1, "guidance_scale": 0.0, **SIZE}
    first, second = (sd3.generate_image("a house", CONCEPTS, reader="clip", **options).recording for _ in range(2))
    assert first.metadata["text_encoder"] == "clip"
    assert first.metadata["seed"] != second.metadata["seed"]


def test_sd3_encodes_at_a_step_from_the_end(sd3: Any) -> None:
    found = sd3.encode_image(IMAGE, "a house", CONCEPTS, seed=1, **SIZE)
    assert found.recording.sigmas == pytest.approx((0.6022,), abs=1e-4)
    assert sd3.encode_image(IMAGE, "", CONCEPTS, timestep_index=0, **SIZE).recording.sigmas == (1.0,)
    with pytest.raises(ValueError, match=r"-1 does not exist: a schedule of num_steps=4 has 0 to 3"):
        sd3.encode_image(IMAGE, "", CONCEPTS, timestep_index=-5, **SIZE)


def test_flux2_averages_the_last_third_of_the_steps_but_the_last(flux2: Any) -> None:
    found = flux2.generate_image("a house", CONCEPTS, num_inference_steps=7, return_pil_heatmaps=False, **SIZE)
    scores = found.recording.scores
    assert scores.shape[:2] == (7, 3)
    expected = torch.softmax(scores[4:6, 1:, 0].mean((0, 1)) / 1000, dim=0).reshape(3, 3, 4)
    torch.testing.assert_close(found.concept_heatmaps, expected, rtol=1e-5, atol=1e-6)
    warm = flux2.generate_image(
        "a house",
        CONCEPTS,
        num_inference_steps=7,
        softmax_temperature=2.0,
        timesteps=[6],
        return_pil_heatmaps=False,
        **SIZE,
    )
    expected = torch.softmax(scores[6, 1:, 0].mean(0) / 2, dim=0).reshape(3, 3, 4)
    torch.testing.assert_close(warm.concept_heatmaps, expected, rtol=1e-5, atol=1e-6)
    assert flux2.generate_image("a house", CONCEPTS, num_inference_steps=1, **SIZE).concept_heatmaps


def test_flux2_encodes_at_its_shifted_schedule(flux2: Any) -> None:
    found = flux2.encode_image(IMAGE, CONCEPTS, **SIZE)
    assert found.recording.sigmas == (flux2.family.schedule_sigma(flux2.pipeline, 4, 2, 12),)
    assert found.image.size == (64, 48) and len(found.concept_heatmaps) == 3


def test_cogvideox_makes_a_heatmap_of_every_frame(cogvideox: Any) -> None:
    chosen = {"layers": [0, 1], "timesteps": [1]}
    options: dict[str, Any] = {"num_frames": 9, "num_inference_steps": 2, "concepts": CONCEPTS, **SIZE}
    found = cogvideox.generate_video("a house", concept_attention_kwargs=chosen, **options)
    recording = found.recording
    assert len(found.video) == 9 and recording.metadata["pooling"] == "first"
    every = torch.cat([recording.scores[1, :2, 0], recording.pad_scores[1, :2].expand(-1, 223, -1)], dim=1)
    shares = torch.softmax(every, dim=1)[:, :3].mean(0).reshape(3, 3, 3, 4)
    frames = shares.repeat_interleave(torch.tensor([1, 4, 4]), dim=1)
    for images, expected in zip(found.concept_heatmaps, drawn(frames).reshape(3, 9, 48, 64, 3), strict=True):
        assert len(images) == 9
        for image, wanted in zip(images, expected, strict=True):
            assert np.abs(np.asarray(image, dtype=float) - wanted).max() <= 3
    values = cogvideox.generate_video(
        "a house", layer_indices=[0, 1], timestep_indices=[1], return_pil_heatmaps=False, **options
    )
    torch.testing.assert_close(values.concept_heatmaps, shares, rtol=1e-5, atol=1e-6)


def test_what_only_the_heatmaps_would_refuse_is_refused_before(sd3: Any, cogvideox: Any, captured: Any) -> None:
    calls = [*captured(sd3.pipeline.transformer), *captured(cogvideox.pipeline.transformer)]
    with pytest.raises(ValueError, match=r"^Layer 19 does not exist"):
        sd3.generate_image("a house", CONCEPTS, layer_indices=[19])
    with pytest.raises(ValueError, match=r"^Step 2 does not exist"):
        cogvideox.generate_video("a house", concepts=CONCEPTS, num_inference_steps=2, timestep_indices=[2])
    assert not calls


@pytest.mark.parametrize(
    "name, given",
    [
        ("ConceptAttentionSD3Pipeline", ("stabilityai/stable-diffusion-3.5-large-turbo", "auto", "auto", "none")),
        ("ConceptAttentionFlux2Pipeline", ("flux.2-dev", "auto", "auto", "none")),
        ("ConceptAttentionCogVideoXPipeline", ("THUDM/CogVideoX-5b", "auto", "auto", "none")),
    ],
)
def test_the_authors_model_is_loaded_by_default(monkeypatch: pytest.MonkeyPatch, name: str, given: Any) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(base, "load_pipeline", lambda *args: asked.append(args))
    with pytest.raises(ValueError, match=rf"^{name} needs a .*Pipeline, got a NoneType\."):
        getattr(concept_attention, name)()
    assert asked == [given]


def test_a_dtype_of_torch_is_taken(monkeypatch: pytest.MonkeyPatch, sd3: Any) -> None:
    asked: list[Any] = []

    def load(*args: Any) -> Any:
        asked.append(args)
        return sd3.pipeline

    monkeypatch.setattr(base, "load_pipeline", load)
    concept_attention.ConceptAttentionSD3Pipeline("folder", "cpu", torch.bfloat16)
    assert asked == [("folder", "cpu", "bfloat16", "none")]


def test_the_first_token_is_the_authors_and_phrases_can_be_read_whole(cogvideox: Any) -> None:
    concepts = parse_concepts(CONCEPTS)
    first, whole = (encode_concepts(cogvideox.pipeline, concepts, one, 24).embeddings for one in ("first", "auto"))
    assert torch.equal(first[0], whole[0]) and not torch.equal(first[1], whole[1])
