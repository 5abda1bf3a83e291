"""Small random models of ComfyUI's own classes, what they are called with, and a run through ComfyUI's own sampler.

Import this module after `boot()`, which the hosts' conftest.py calls.
"""

from __future__ import annotations

from typing import Any

import comfy.sample
import comfy.sd
import comfy.supported_models
import comfy.supported_models_base
import comfy.text_encoders.flux
import torch
from comfy.model_patcher import ModelPatcher
from torch import Tensor, nn

from ..weights import fill_parameters

CPU = torch.device("cpu")
TEXT_WIDTH = 48
POOLED_WIDTH = 32
Conditioning = list[list[Any]]  # ComfyUI's CONDITIONING: [[(1, T, E), {"pooled_output": (1, P), ...}], ...]


def fill(module: nn.Module, seed: int = 0) -> None:
    """Seeded weights of unit gain, with norms near one and small biases: large enough that concepts differ.

    ComfyUI's layers leave their parameters uninitialised, so every one of them is written, and what else is saved with
    them: SD3's position embeddings.
    """
    generator = torch.Generator().manual_seed(seed)
    fill_parameters(module, generator)
    with torch.no_grad():
        saved = module.state_dict()
        for name, buffer in module.named_buffers():
            if name in saved and buffer.is_floating_point():
                buffer.copy_(torch.randn(buffer.shape, generator=generator))


def make_flux(
    guidance: bool = False,
    heads: int = 1,
    joint_blocks: int = 3,
    single_blocks: int = 2,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
) -> ModelPatcher:
    """A new MODEL: a random Flux 1 of width 128, text 48 wide, pooled text 32 wide, 16 latent channels, on the CPU.

    Args:
        guidance: with a guidance embedding, as Flux.1-dev; else as Flux.1-schnell, whose class is another one.
        heads: 1 of size 128, or 2 of size 64.
        joint_blocks, single_blocks: how many of each.
        seed: of the weights.
        dtype: of the weights and the computation.
    """
    head = 128 // heads
    kind = comfy.supported_models.Flux if guidance else comfy.supported_models.FluxSchnell
    config = kind(
        {
            "image_model": "flux",
            "in_channels": 16,
            "out_channels": 16,
            "patch_size": 2,
            "vec_in_dim": POOLED_WIDTH,
            "context_in_dim": TEXT_WIDTH,
            "hidden_size": 128,
            "mlp_ratio": 4.0,
            "num_heads": heads,
            "depth": joint_blocks,
            "depth_single_blocks": single_blocks,
            "axes_dim": [head // 8, head * 7 // 16, head * 7 // 16],
            "theta": 10000,
            "qkv_bias": True,
            "guidance_embed": guidance,
            "txt_ids_dims": [],
        }
    )
    config.set_inference_dtype(dtype, None)
    model = config.get_model({}, "")
    fill(model.diffusion_model, seed)
    return ModelPatcher(model, load_device=CPU, offload_device=CPU)


def make_clip(seed: int = 0) -> comfy.sd.CLIP:
    """A new CLIP that fits `make_flux`: Flux's own tokenizers (real T5 and CLIP-L), with tiny random encoders."""
    clip = comfy.sd.CLIP(
        comfy.supported_models_base.ClipTarget(
            comfy.text_encoders.flux.FluxTokenizer, comfy.text_encoders.flux.flux_clip(dtype_t5=torch.float32)
        ),
        model_options={
            "t5xxl_model_config": {"d_model": TEXT_WIDTH, "d_ff": 64, "d_kv": 16, "num_heads": 2, "num_layers": 2},
            "clip_l_model_config": {
                "hidden_size": POOLED_WIDTH,
                "intermediate_size": 64,
                "num_attention_heads": 2,
                "num_hidden_layers": 2,
                "projection_dim": POOLED_WIDTH,
            },
            "dtype": torch.float32,
            "load_device": CPU,
            "offload_device": CPU,
        },
    )
    fill(clip.cond_stage_model, seed)
    return clip


def make_cond(tokens: int = 7, seed: int = 1, **extra: Any) -> Conditioning:
    """A random CONDITIONING for `make_flux`; `extra` goes into its dict (area, mask, reference_latents, ...)."""
    generator = torch.Generator().manual_seed(seed)
    text = torch.randn(1, tokens, TEXT_WIDTH, generator=generator)
    return [[text, {"pooled_output": torch.randn(1, POOLED_WIDTH, generator=generator), **extra}]]


def make_latent(batch: int = 1, height: int = 12, width: int = 8, seed: int = 2) -> Tensor:
    """A random latent (batch, 16, height, width) of an image 8 times as large; a token is 2 x 2 latent pixels."""
    return torch.randn(batch, 16, height, width, generator=torch.Generator().manual_seed(seed))


def sample(
    model: ModelPatcher,
    positive: Conditioning | None = None,
    negative: Conditioning | None = None,
    latent: Tensor | None = None,
    *,
    seed: int = 0,
    steps: int = 3,
    cfg: float = 1.0,
    sampler_name: str = "euler",
    scheduler: str = "simple",
    denoise: float = 1.0,
    noise_mask: Tensor | None = None,
    callback: Any = None,
) -> Tensor:
    """What KSampler does, without its node: the sampled latent, on the CPU.

    Left out, the prompts are random ones of different length, and the latent is empty.
    """
    latent = torch.zeros_like(make_latent()) if latent is None else latent
    return comfy.sample.sample(
        model,
        comfy.sample.prepare_noise(latent, seed),
        steps,
        cfg,
        sampler_name,
        scheduler,
        positive or make_cond(),
        negative or make_cond(tokens=5, seed=3),
        latent,
        denoise=denoise,
        noise_mask=noise_mask,
        callback=callback,
        disable_pbar=True,
        seed=seed,
    )
