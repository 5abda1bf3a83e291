"""ConceptAttentionEncodeImage: recordings of existing images."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from .conftest import Pack

Landscape = tuple[Any, Any, Any]
LOOK = {"noise": 0.3, "samples": 1, "seed": 0}


@pytest.fixture(scope="module")
def latent(landscape: Landscape, pictures: torch.Tensor) -> dict[str, torch.Tensor]:
    with torch.inference_mode():
        return {"samples": landscape[2].encode(pictures)}


def test_every_picture_gets_a_recording_with_one_step_per_noise(
    pack: Pack, landscape: Landscape, concepts: Any, latent: dict[str, Any]
) -> None:
    inputs = {"model": landscape[0], "concepts": concepts, "latent": latent, **LOOK}
    output = pack.run("ConceptAttentionEncodeImage", **{**inputs, "samples": 3})
    recording = output[0]
    assert recording.batch == 2 and len(recording.steps) == 3 and recording.image_size == (64, 96)
    assert recording.sigmas == pytest.approx((0.3, 0.3, 0.3))
    assert pack.text(output).splitlines()[1] == "2 images of 6 x 4 tokens, 14 KiB"
    first = pack.run("ConceptAttentionEncodeImage", **inputs)[0]
    assert torch.equal(first.scores[0], recording.scores[0])


def test_the_mean_over_noise_samples_can_be_kept(
    pack: Pack, landscape: Landscape, concepts: Any, latent: dict[str, Any]
) -> None:
    inputs = {"model": landscape[0], "concepts": concepts, "latent": latent, **LOOK, "samples": 3}
    output = pack.run("ConceptAttentionEncodeImage", **inputs, keep="running mean")
    assert output[0].averaged == "share" and len(output[0].steps) == 1


def test_a_prompt_and_a_seed_make_a_difference(
    pack: Pack, landscape: Landscape, concepts: Any, latent: dict[str, Any]
) -> None:
    clip = landscape[1]
    prompt = clip.encode_from_tokens_scheduled(clip.tokenize("a house on grass"))
    inputs = {"model": landscape[0], "concepts": concepts, "latent": latent, **LOOK}
    plain = pack.run("ConceptAttentionEncodeImage", **inputs)[0].scores
    assert not torch.equal(plain, pack.run("ConceptAttentionEncodeImage", **inputs, positive=prompt)[0].scores)
    assert not torch.equal(plain, pack.run("ConceptAttentionEncodeImage", **{**inputs, "seed": 1})[0].scores)


@pytest.mark.parametrize(
    ("samples", "words"),
    [
        (torch.ones(1, 16, 3, 8, 8), "Encode the image, not a video"),
        (torch.ones(1, 4, 8, 8), r"latents of shape \(batch, 16, height, width\), got \(1, 4, 8, 8\)"),
        (torch.zeros(1, 16, 8, 8), "This LATENT is empty"),
    ],
)
def test_a_latent_that_is_no_picture_is_refused(
    pack: Pack, landscape: Landscape, concepts: Any, samples: torch.Tensor, words: str
) -> None:
    inputs = {"model": landscape[0], "concepts": concepts, "latent": {"samples": samples}, **LOOK}
    with pytest.raises(ValueError, match=words):
        pack.run("ConceptAttentionEncodeImage", **inputs)


@pytest.mark.parametrize(
    ("option", "words"), [({"noise": 0.0}, "Noise must be above 0"), ({"samples": 0}, "at least one")]
)
def test_numbers_out_of_range_are_refused(
    pack: Pack, landscape: Landscape, concepts: Any, latent: dict[str, Any], option: dict[str, Any], words: str
) -> None:
    inputs = {"model": landscape[0], "concepts": concepts, "latent": latent, **LOOK, **option}
    with pytest.raises(ValueError, match=words):
        pack.run("ConceptAttentionEncodeImage", **inputs)
