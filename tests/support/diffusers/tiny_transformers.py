"""Small random transformers of every family, with 3 heads of 16, and random arguments of one evaluation of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

Arguments = dict[str, Any]
TEXT_WIDTH = 128


def fill(module: nn.Module, seed: int = 0) -> Any:
    """Seeded random weights, large enough that every concept gets another map; in evaluation mode."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            scale = parameter[0].numel() ** -0.5 if parameter.ndim > 1 else 0.3
            parameter.copy_(noise * scale + (parameter == 1))  # the scales of norms stay around one
    return module.eval()


def seeded_noise(seed: int) -> Callable[..., Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return lambda *shape: torch.randn(*shape, generator=generator)


def make_flux(guidance: bool = False, joint_blocks: int = 3, seed: int = 0) -> Any:
    """A Flux 1 whose pooled text is 64 wide."""
    from diffusers import FluxTransformer2DModel

    return fill(
        FluxTransformer2DModel(
            in_channels=64,
            num_layers=joint_blocks,
            num_single_layers=1,
            attention_head_dim=16,
            num_attention_heads=3,
            joint_attention_dim=TEXT_WIDTH,
            pooled_projection_dim=64,
            guidance_embeds=guidance,
            axes_dims_rope=(4, 6, 6),
        ),
        seed,
    )


def flux_inputs(
    transformer: Any, batch: int = 2, rows: int = 3, columns: int = 4, text: int = 5, seed: int = 1
) -> dict[str, Any]:
    """Random arguments of one evaluation; the grid is row-major, as FluxPipeline has it."""
    generator = torch.Generator().manual_seed(seed)
    places = [(0, row, column) for row in range(rows) for column in range(columns)]
    return {
        "hidden_states": torch.randn(batch, rows * columns, 64, generator=generator),
        "encoder_hidden_states": torch.randn(batch, text, 128, generator=generator),
        "pooled_projections": torch.randn(batch, 64, generator=generator),
        "timestep": torch.rand(batch, generator=generator),
        "guidance": torch.full((batch,), 2.5) if transformer.config.guidance_embeds else None,
        "img_ids": torch.tensor(places, dtype=torch.float32),
        "txt_ids": torch.zeros(text, 3),
        "return_dict": False,
    }


def make_sd3(qk_norm: str | None = "rms_norm", dual: tuple[int, ...] = (0, 1)) -> Any:
    from diffusers import SD3Transformer2DModel

    return fill(
        SD3Transformer2DModel(
            sample_size=16,
            in_channels=4,
            out_channels=4,
            num_layers=3,
            attention_head_dim=16,
            num_attention_heads=3,
            joint_attention_dim=TEXT_WIDTH,
            caption_projection_dim=48,
            pooled_projection_dim=96,
            pos_embed_max_size=16,
            dual_attention_layers=dual,
            qk_norm=qk_norm,
        )
    )


def sd3_inputs(transformer: Any, batch: int, rows: int, columns: int, text: int = 5, seed: int = 1) -> Arguments:
    noise = seeded_noise(seed)
    return {
        "hidden_states": noise(batch, 4, 2 * rows, 2 * columns),
        "encoder_hidden_states": noise(batch, text, TEXT_WIDTH),
        "pooled_projections": noise(batch, 96),
        "timestep": 1000 * torch.rand(batch, generator=torch.Generator().manual_seed(seed)),
        "return_dict": False,
    }


def make_flux2(guidance: bool = True, text_width: int = TEXT_WIDTH) -> Any:
    from diffusers import Flux2Transformer2DModel

    return fill(
        Flux2Transformer2DModel(
            in_channels=16,
            num_layers=3,
            num_single_layers=1,
            attention_head_dim=16,
            num_attention_heads=3,
            joint_attention_dim=text_width,
            timestep_guidance_channels=32,
            axes_dims_rope=(4, 4, 4, 4),
            guidance_embeds=guidance,
        )
    )


def flux2_inputs(transformer: Any, batch: int, rows: int, columns: int, text: int = 5, seed: int = 1) -> Arguments:
    noise, ones = seeded_noise(seed), torch.arange(1)
    return {
        "hidden_states": noise(batch, rows * columns, 16),
        "encoder_hidden_states": noise(batch, text, TEXT_WIDTH),
        "timestep": torch.rand(batch, generator=torch.Generator().manual_seed(seed)),
        "guidance": torch.full((batch,), 2.5) if transformer.config.guidance_embeds else None,
        "img_ids": torch.cartesian_prod(ones, torch.arange(rows), torch.arange(columns), ones),
        "txt_ids": torch.cartesian_prod(ones, ones, ones, torch.arange(text)),
        "return_dict": False,
    }


def make_cogvideox(text: int = 5, rotary: bool = True, frame_patch: int | None = None) -> Any:
    """Its positions without rotation are those of a prompt of exactly `text` tokens."""
    from diffusers import CogVideoXTransformer3DModel

    return fill(
        CogVideoXTransformer3DModel(
            num_attention_heads=3,
            attention_head_dim=16,
            in_channels=4,
            out_channels=4,
            time_embed_dim=32,
            text_embed_dim=TEXT_WIDTH,
            num_layers=3,
            sample_width=8,
            sample_height=6,
            sample_frames=9,
            patch_size_t=frame_patch,
            max_text_seq_length=text,
            use_rotary_positional_embeddings=rotary,
            patch_bias=frame_patch is None,
        )
    )
