"""Qwen-Image 2.1, whose text is causal and comes before the image in one stream."""

from __future__ import annotations

from typing import Any

import torch

from concept_attention.hosts.encoded import ConceptText

from ..tiny_transformers import Arguments, fill, seeded_noise
from .family import TEXT_WIDTH, TOKENS, CrossFamily, first_tokens


def qwen_image21(condition: tuple[int, int] | None = None, padded: bool = False) -> CrossFamily:
    """Condition images lie between the prompt's third and fourth token, each vision slot for 2 x 2 of its tokens."""
    extra = condition[0] * condition[1] if condition else 0

    def make() -> Any:
        from diffusers import QwenImage21Transformer2DModel

        return fill(
            QwenImage21Transformer2DModel(
                in_channels=16,
                out_channels=16,
                num_layers=3,
                attention_head_dim=16,
                num_attention_heads=2,
                context_in_dim=TEXT_WIDTH,
                mlp_ratio=2,
                axes_dims_rope=(4, 6, 6),
            )
        )

    def inputs(model: Any, batch: int, rows: int, columns: int, seed: int = 1) -> Arguments:
        noise = seeded_noise(seed)
        slots = torch.zeros(TOKENS + extra // 4, dtype=torch.bool)
        slots[3 : 3 + extra // 4] = True
        text = noise(batch, len(slots), TEXT_WIDTH)
        valid = torch.ones(batch, len(slots), dtype=torch.bool)
        valid[-1, len(slots) - 2 * padded :] = False
        slots = torch.cat([slots, torch.ones(rows * columns // 4, dtype=torch.bool)])
        return {
            "hidden_states": noise(batch, extra + rows * columns, 16),
            "encoder_hidden_states": text,
            "timestep": torch.full((batch,), 0.6),
            "img_shapes": [[*([(1, *condition)] if condition else []), (1, rows, columns)]] * batch,
            "img_mask": slots.expand(batch, -1),
            "encoder_hidden_states_mask": valid if padded else None,
            "return_dict": False,
        }

    def texts(inputs: Arguments) -> list[ConceptText]:
        """The words before a condition image: only they are the same in a prompt without."""
        return first_tokens(inputs)[: 3 if condition else TOKENS - padded * 2]

    return CrossFamily(
        "QwenImage21",
        make,
        inputs,
        text=lambda tokens, image: tokens + extra + image,
        texts=texts,
        columns=[*range(3), *range(3 + extra, TOKENS + extra)],
    )
