"""Pipelines around the small random models of `families.py`; text encoders are made in memory, or are Flux 1's."""

from __future__ import annotations

from typing import Any

from .families import FAMILIES, fill


def make_vae() -> Any:
    from diffusers import AutoencoderKL

    return fill(
        AutoencoderKL(
            block_out_channels=(4, 4, 4, 4),
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            latent_channels=4,
            norm_num_groups=2,
            scaling_factor=0.36,
            shift_factor=0.12,
        )
    )


def make_clip(words: int, width: int, seed: int) -> Any:
    from transformers import CLIPTextConfig, CLIPTextModelWithProjection

    config = CLIPTextConfig(
        vocab_size=words,
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=77,
        projection_dim=width,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
    )
    return fill(CLIPTextModelWithProjection(config), seed)


def make_sd3_pipeline(random_pipeline: Any) -> Any:
    from diffusers import FlowMatchEulerDiscreteScheduler, StableDiffusion3Pipeline

    tokenizer = random_pipeline.tokenizer
    words = len(tokenizer.get_vocab())
    return _quiet(
        StableDiffusion3Pipeline(
            transformer=FAMILIES["SD3.5 medium"].make(),
            scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
            vae=make_vae(),
            text_encoder=make_clip(words, 32, 1),
            tokenizer=tokenizer,
            text_encoder_2=make_clip(words, 64, 2),
            tokenizer_2=tokenizer,
            text_encoder_3=random_pipeline.text_encoder_2,
            tokenizer_3=random_pipeline.tokenizer_2,
        )
    )


def _quiet(pipeline: Any) -> Any:
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


PIPELINES = {"SD3.5 medium": make_sd3_pipeline}
