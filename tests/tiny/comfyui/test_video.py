"""The embedded landscape model that makes clips, in ComfyUI against the same folder in diffusers."""

from __future__ import annotations

from typing import Any

import comfy.latent_formats
import numpy as np
import pytest
import torch
from torch import Tensor

from concept_attention.errors import UserError
from concept_attention.tiny.comfyui import video
from concept_attention.tiny.world.clips import draw_clip

pytest.importorskip("diffusers")

PROMPT = "a boat on water under a sun in the sky"
needs_cogvideox = pytest.mark.skipif(
    not hasattr(comfy.latent_formats, "CogVideoX"), reason="this ComfyUI has no CogVideoX"
)


@pytest.fixture(scope="module")
def parts() -> Any:
    return video.load_landscape_video()


@pytest.fixture(scope="module")
def pipeline() -> Any:
    from concept_attention.hosts.diffusers.loading import load_pipeline

    loaded = load_pipeline("tiny-cogvideox", device="cpu")
    loaded.set_progress_bar_config(disable=True)
    return loaded


@pytest.fixture(scope="module")
def clip() -> Tensor:
    """A drawn clip as an IMAGE, (F, H, W, 3), 0-1."""
    return torch.from_numpy(np.asarray(draw_clip(5, 128, 128, 9).image)).float() / 255


def embedded_text(parts: Any) -> Tensor:
    return parts[1].encode_from_tokens(parts[1].tokenize(PROMPT))


@needs_cogvideox
def test_texts_are_encoded_alike(parts: Any, pipeline: Any) -> None:
    theirs, _ = pipeline.encode_prompt(PROMPT, do_classifier_free_guidance=False, max_sequence_length=24)
    assert torch.allclose(embedded_text(parts), theirs, atol=1e-5)


@needs_cogvideox
def test_the_prediction_is_the_same(parts: Any, pipeline: Any) -> None:
    latents = torch.randn(1, 16, 9, 16, 16, generator=torch.Generator().manual_seed(0))
    time, context = torch.tensor([600.0]), embedded_text(parts)
    rotary = pipeline._prepare_rotary_positional_embeddings(128, 128, 9, torch.device("cpu"))
    with torch.no_grad():
        ours = parts[0].model.diffusion_model(latents, time, context)
        theirs = pipeline.transformer(
            latents.transpose(1, 2), context, time, image_rotary_emb=rotary, return_dict=False
        )[0].transpose(1, 2)
    assert torch.allclose(ours, theirs, atol=1e-4)


@needs_cogvideox
def test_clips_are_encoded_and_decoded_alike(parts: Any, pipeline: Any, clip: Tensor) -> None:
    ours = parts[2].encode(clip)
    with torch.no_grad():
        theirs = pipeline.vae.encode(clip.movedim(-1, 0)[None] * 2 - 1).latent_dist.mean
        decoded = pipeline.vae.decode(theirs).sample
    assert ours.shape == (1, 16, 9, 16, 16) and torch.allclose(ours, theirs, atol=1e-3)
    image = ((decoded[0].movedim(0, -1) + 1) / 2).clamp(0, 1)
    back = parts[2].decode(ours)[0]
    assert back.shape == clip.shape
    difference = (back - image).abs()  # the two decode a clip in other parts
    assert difference.mean() < 1e-3 and difference.max() < 0.02
    assert (back - clip).abs().mean() < 0.02


def test_a_comfyui_without_cogvideox_is_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(comfy.latent_formats, "CogVideoX", raising=False)
    with pytest.raises(UserError, match="This ComfyUI has no CogVideoX"):
        video.load_landscape_video()


@needs_cogvideox
def test_every_call_loads_a_model_of_its_own(parts: Any) -> None:
    assert video.load_model().model is not parts[0].model
    assert parts[0].model.latent_format.temporal_downscale_ratio == 1
