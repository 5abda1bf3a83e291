"""Both autoencoders' encoders are exactly the linear codec; the one for clips looks at one frame at a time."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKLCogVideoX

from concept_attention.tiny.models.autoencoders import linear_vae, linear_video_vae
from concept_attention.tiny.models.codec import LinearCodec, fit_codec
from concept_attention.tiny.world.clips import draw_clip


@pytest.fixture(scope="module")
def frames() -> np.ndarray:
    return np.concatenate([draw_clip(seed, 96, 64, 3).image for seed in range(8)])


@pytest.fixture(scope="module")
def codec(frames: np.ndarray) -> LinearCodec:
    return fit_codec(frames)


@pytest.fixture(scope="module")
def video_vae(codec: LinearCodec) -> AutoencoderKLCogVideoX:
    torch.manual_seed(0)
    return linear_video_vae(codec).eval()


def _pixels(frames: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(frames).permute(0, 3, 1, 2).float() / 127.5 - 1


@torch.no_grad()
def test_the_image_encoder_is_the_linear_codec(codec: LinearCodec, frames: np.ndarray) -> None:
    latents = linear_vae(codec).encode(_pixels(frames[:3])).latents
    np.testing.assert_allclose(latents.numpy(), codec.encode(frames[:3]), atol=5e-5)


@torch.no_grad()
def test_the_video_encoder_is_the_linear_codec_frame_by_frame(
    video_vae: AutoencoderKLCogVideoX, codec: LinearCodec, frames: np.ndarray
) -> None:
    # Eleven frames go through the encoder in two parts, and each part has frames of its own to be divided by.
    found = video_vae.encode(_pixels(frames[:11]).transpose(0, 1)[None]).latent_dist
    np.testing.assert_allclose(found.mode()[0].transpose(0, 1), codec.encode(frames[:11]), atol=1e-4)
    assert found.std.max() < 1e-6  # a sample is the mean


@torch.no_grad()
def test_a_frame_of_one_color_is_encoded_like_any_other(video_vae: AutoencoderKLCogVideoX, codec: LinearCodec) -> None:
    for value in (0, 128, 255):
        frame = np.full((1, 64, 64, 3), value, np.uint8)
        latents = video_vae.encode(_pixels(frame).transpose(0, 1)[None]).latent_dist.mode()
        np.testing.assert_allclose(latents[0].transpose(0, 1), codec.encode(frame), atol=1e-4)


def test_earlier_frames_have_no_part_in_a_frame_and_training_gives_them_none(
    video_vae: AutoencoderKLCogVideoX,
) -> None:
    vae = video_vae
    latents = torch.randn(1, 16, 1, 4, 4, generator=torch.Generator().manual_seed(1))
    optimizer = torch.optim.AdamW(vae.decoder.parameters(), lr=0.1, weight_decay=0)
    for _ in range(2):
        vae.decode(latents).sample.pow(2).mean().backward()
        optimizer.step()
    convolutions = [one for one in vae.decoder.modules() if isinstance(one, torch.nn.Conv3d)]
    deep = [one.weight for one in convolutions if one.kernel_size[0] > 1]
    assert len(deep) > 20 and all((weight[:, :, :-1] == 0).all() for weight in deep)
    assert all(weight[:, :, -1].abs().max() > 0 for weight in deep)
    # One frame thrice over is decoded as that frame.
    with torch.no_grad():
        thrice = vae.decode(latents.expand(-1, -1, 3, -1, -1)).sample
        torch.testing.assert_close(thrice, vae.decode(latents).sample.expand_as(thrice), atol=1e-4, rtol=1e-4)
