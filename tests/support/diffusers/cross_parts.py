"""Small random autoencoders, and other parts, of pipelines of families whose concepts are read as keys."""

from __future__ import annotations

from typing import Any

import torch

from .small_pipelines import make_vae
from .tiny_parts import remade
from .tiny_transformers import fill


def make_unshifted_vae(channels: int = 4) -> Any:
    return remade(make_vae(channels), shift_factor=None)


def _with_moments(vae: Any) -> Any:
    """With another mean and deviation for each channel, among its weights."""
    channels = torch.arange(len(vae.latents_mean))
    vae.latents_mean.copy_(channels / 10)
    vae.latents_std.copy_(1 - channels / 20)
    return vae


def make_ltx_vae() -> Any:
    from diffusers import AutoencoderKLLTXVideo

    vae = AutoencoderKLLTXVideo(
        latent_channels=8,
        block_out_channels=(8,) * 4,
        decoder_block_out_channels=(8,) * 4,
        layers_per_block=(1,) * 5,
        decoder_layers_per_block=(1,) * 5,
    )
    return _with_moments(fill(vae))


def make_ltx2_vae() -> Any:
    from diffusers import AutoencoderKLLTX2Video

    vae = AutoencoderKLLTX2Video(
        latent_channels=8,
        block_out_channels=(8, 8, 8, 8),
        decoder_block_out_channels=(4, 8, 16),
        layers_per_block=(1,) * 5,
        decoder_layers_per_block=(1,) * 4,
        upsample_residual=(False,) * 3,
        spatial_compression_ratio=32,
        temporal_compression_ratio=8,
    )
    return _with_moments(fill(vae))


def make_ltx2_audio_vae() -> Any:
    """Two channels of three latent mel bins."""
    from diffusers import AutoencoderKLLTX2Audio

    return fill(
        AutoencoderKLLTX2Audio(base_channels=6, ch_mult=(1, 1, 1), num_res_blocks=1, latent_channels=2, mel_bins=12)
    )


def make_vocoder() -> Any:
    from diffusers.pipelines.ltx2 import LTX2Vocoder

    sizes = {
        "upsample_kernel_sizes": [4],
        "upsample_factors": [2],
        "resnet_kernel_sizes": [3],
        "resnet_dilations": [[1]],
    }
    return fill(LTX2Vocoder(in_channels=24, hidden_channels=4, **sizes))


def make_dc_vae() -> Any:
    """Its latent pixels are as large as 32 pixels."""
    from diffusers import AutoencoderDC

    return fill(
        AutoencoderDC(
            latent_channels=8,
            attention_head_dim=4,
            encoder_block_out_channels=(8,) * 6,
            decoder_block_out_channels=(8,) * 6,
            encoder_layers_per_block=(1,) * 6,
            decoder_layers_per_block=(1,) * 6,
            encoder_qkv_multiscales=((),) * 6,
            decoder_qkv_multiscales=((),) * 6,
            scaling_factor=0.41,
        )
    )


def make_cosmos_vae() -> Any:
    """With another mean and deviation for each channel and latent frame."""
    from diffusers import AutoencoderKLCosmos

    return fill(
        AutoencoderKLCosmos(
            latent_channels=4,
            encoder_block_out_channels=(4, 4, 4, 4),
            decode_block_out_channels=(4, 4, 4, 4),
            attention_resolutions=(),
            num_layers=1,
            latents_mean=[number / 10 for number in range(12)],
            latents_std=[1 - number / 20 for number in range(12)],
        )
    )


class ChatGLMTokenizer:
    """What Kolors's pipeline asks of its tokenizer."""

    unk_token_id = 1

    def __init__(self, words: Any) -> None:
        self.words = words

    def __call__(self, text: Any, **options: Any) -> Any:
        made = self.words(text, **options)
        if "return_tensors" in options:
            made["position_ids"] = (made["attention_mask"].cumsum(1) - 1).clamp(min=0)
        return made


class Guardrail:
    """In the place of Cosmos's safety checker."""

    def to(self, device: Any) -> None: ...

    def check_text_safety(self, text: str) -> bool:
        return True

    def check_video_safety(self, video: Any) -> Any:
        return video
