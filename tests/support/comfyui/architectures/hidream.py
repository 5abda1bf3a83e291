"""Tiny models of the HiDream adapter."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from concept_attention.hosts.comfyui.adapters.block_call import BlockCall
from concept_attention.hosts.comfyui.adapters.hidream import HiDream

from .tiny_architecture import Arguments, TinyArchitecture

_BLOCKS, _SINGLE = 3, 1
_EXTRA = 2  # Llama tokens there are more of than T5 tokens


def _swap(arguments: Arguments, concept: Tensor) -> Arguments:
    """All text has position (0, 0, 0), so any text token's rotation is that of a concept."""
    rope = arguments["rope"][:, : arguments["image_tokens"].shape[1] + concept.shape[1]]
    return {**arguments, "text_tokens": concept, "rope": rope}


class _WithTheBlocksOwnTokens(HiDream):
    """The prompt's last tokens are replaced in every block by those of another Llama layer."""

    def concept_qkv(self, block: Any, concept: Tensor, call: BlockCall) -> tuple[Tensor, Tensor, Tensor, Any]:
        text = call.arguments["text_tokens"][call.rows]
        fresh = (text.shape[1] + _EXTRA) // 3  # T5, Llama's last layer, and this one: n, n and n, two of them longer
        replaced = torch.cat([concept[:, :-fresh], text[:, -fresh:]], dim=1)
        return super().concept_qkv(block, replaced, call)


def _llama(tokens: int, generator: torch.Generator) -> Tensor:
    return torch.randn(1, _BLOCKS + _SINGLE, tokens + _EXTRA, 40, generator=generator)


VARIANTS = (
    TinyArchitecture(
        name="HiDream-I1",
        adapter=HiDream(),
        architecture="hidream",
        kind="HiDream",
        config={
            "image_model": "hidream",
            "attention_head_dim": 64,
            "axes_dims_rope": [32, 16, 16],
            "caption_channels": [48, 40],
            "max_resolution": [128, 128],
            "in_channels": 16,
            "out_channels": 16,
            "llama_layers": list(range(_BLOCKS + _SINGLE)),
            "num_attention_heads": 2,
            "num_routed_experts": 2,
            "num_activated_experts": 1,
            "num_layers": _BLOCKS,
            "num_single_layers": _SINGLE,
            "patch_size": 2,
            "text_emb_dim": 64,
        },
        latent=(1, 16, 12, 8),
        grid=(1, 6, 4),
        text_width=48,
        extra={
            "pooled_output": lambda _, generator: torch.randn(1, 64, generator=generator),
            "conditioning_llama3": _llama,
        },
        project=lambda network, embeddings, calls: network.caption_projection[-1](embeddings),
        swap=_swap,
        text_in=lambda arguments: arguments["text_tokens"],
        text_out=lambda output: output[1],
        image_first=True,
        as_prompt=_WithTheBlocksOwnTokens(),
    ),
)
