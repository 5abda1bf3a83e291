"""A small autoencoder in TAESD's size against itself, as diffusers runs it."""

from __future__ import annotations

from typing import Any

import comfy.sd
import pytest
import torch
from torch import nn

from concept_attention.tiny.comfyui.taesd import taesd_weights

from ...support.comfyui.tiny import fill

diffusers: Any = pytest.importorskip("diffusers")


def autoencoder(
    encoder: tuple[int, ...] = (0, 0, 0, 0), decoder: tuple[int, ...] = (3, 3, 2, 1), widths: tuple[int, int] = (24, 8)
) -> nn.Module:
    """A random AutoencoderTiny; its encoder rearranges first, with weights that are not negative."""
    small = diffusers.AutoencoderTiny(
        latent_channels=16,
        encoder_block_out_channels=(widths[0],) * 4,
        num_encoder_blocks=encoder,
        decoder_block_out_channels=(widths[1],) * 4,
        num_decoder_blocks=decoder,
        scaling_factor=1.0,
    )
    fill(small)
    if not any(encoder):
        with torch.no_grad():
            for layer in small.encoder.layers[:3]:
                for parameter in layer.parameters():
                    parameter.abs_()
    return small.eval()


@pytest.mark.parametrize(
    "sizes",
    [
        {},
        {"encoder": (1, 1, 2, 3), "decoder": (1, 1, 1, 1)},
        {"encoder": (1, 3, 3, 3), "decoder": (3, 3, 3, 1), "widths": (64, 64)},
    ],
)
def test_it_encodes_and_decodes_as_before(sizes: dict[str, Any]) -> None:
    small = autoencoder(**sizes)
    vae = comfy.sd.VAE(sd=taesd_weights(small.state_dict(), scale=1.0, shift=0.0), dtype=torch.float32)
    images = torch.rand(2, 48, 32, 3, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        latent = small.encode(images.movedim(-1, 1) * 2 - 1).latents
        expected = (small.decode(latent).sample / 2 + 0.5).clamp(0, 1).movedim(1, -1)
        assert float(latent.std()) > 0.05 and float(expected.std()) > 0.01
        torch.testing.assert_close(vae.encode(images), latent, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(vae.decode(latent), expected, rtol=1e-4, atol=1e-4)


def test_latents_are_scaled_and_shifted() -> None:
    weights = autoencoder().state_dict()
    plain, moved = (
        comfy.sd.VAE(sd=taesd_weights(weights, scale, shift), dtype=torch.float32)
        for scale, shift in ((1.0, 0.0), (0.4, 0.3))
    )
    images = torch.rand(1, 32, 32, 3, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        latent = plain.encode(images)
        torch.testing.assert_close(moved.encode(images), latent / 0.4 + 0.3)
        torch.testing.assert_close(moved.decode(latent / 0.4 + 0.3), plain.decode(latent), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "sizes, message",
    [
        (
            {"decoder": (4, 3, 3, 1)},
            r"^The decoder has blocks \[4, 3, 3, 1, 0\], expected at most TAESD's \[3, 3,",
        ),
        ({"widths": (24, 72)}, r"^A layer of \(72, 16, 3, 3\) is wider than TAESD's 64 channels"),
    ],
)
def test_one_that_is_larger_is_refused(sizes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        taesd_weights(autoencoder(**sizes).state_dict(), 1.0, 0.0)
