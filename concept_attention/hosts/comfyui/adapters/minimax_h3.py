"""MiniMax-H3 in ComfyUI: video with sound, from a text, keyframes or references; and its images.

Phases follow `DiTBlock.forward`, `Attention.forward` and `TokenRefiner` of comfy/ldm/minimax/model.py (0.33), so they
can be diffed. All tokens are one sequence without a batch axis, on shared weights; what is added and multiplied depends
on the kind of token. Concepts are text.

Convention: text comes first, then keyframes or references, sound, and last the generated video, frame by frame,
row-major. Text and image tokens attend to all of them, and concepts to all but the text.
Source: arXiv:2502.04320, Sec. 4.1, carried over to one stream; the authors have no such model.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import comfy.model_management
import comfy.quant_ops
from comfy.ldm.minimax.model import FRAME_PER_TOKEN, MiniMaxH3Model
from torch import Tensor, nn

from ...architecture import AUTHORS_FLUX_LAYERS, Architecture, TokenSlices, last_read_layers
from ..guard import NotRecordable
from .adapter import Adapter
from .block_call import BlockCall, GivenAttention
from .network import network_of

KINDS = 3  # of tokens, each with rows of its own in the modulation
TEXT = 1


class MiniMaxH3(Adapter):
    supported = ("MiniMax-H3",)

    def matches(self, model: Any) -> bool:
        return isinstance(network_of(model), MiniMaxH3Model)

    def describe(self, model: Any) -> Architecture:
        network = network_of(model)
        count = len(network.blocks)
        return Architecture(
            name="minimax_h3",
            layer_count=count,
            text_width=network.condition_proj.in_features,
            patch=network.patch_size[1],
            default_layers=last_read_layers(count, AUTHORS_FLUX_LAYERS),
            frame_patch=network.patch_size[0],
            frames_per_latent=max(FRAME_PER_TOKEN),
            frame_pattern=FRAME_PER_TOKEN,
            latent_channels=network.latents_dim,
        )

    def joint_blocks(self, network: Any) -> nn.ModuleList:
        return network.blocks

    def conditioning_modules(self, network: Any) -> Mapping[str, nn.Module]:
        """What all tokens but the text's go through, which tells how many there are."""
        return {"images": network.video_patch_proj, "sound": network.audio_patch_proj}

    def token_slices(self, call: BlockCall, keys: int) -> TokenSlices:
        return TokenSlices(slice(_text_length(call), keys), slice(keys - call.tokens, keys))

    def project_concepts(self, network: Any, embeddings: Tensor, call: BlockCall) -> Tensor:
        """(1, C, D), each refined alone, as a prompt of one token, which attends to itself."""
        options = {"optimized_attention_override": _attend_to_oneself}
        return network.token_refiner(network.condition_proj(embeddings[0]), transformer_options=options)[None]

    def given_attention(self, block: Any, call: BlockCall) -> GivenAttention | None:
        """That of Block Sparse Attention (0.35), which makes no keys of all tokens that could be observed."""
        if (attend := call.arguments.get("attention")) is None:
            return None
        attn, rope_freqs = block.attn, call.arguments["rope_freqs"]
        return GivenAttention("attention", attend, lambda x: _qkv(attn, x[None], rope_freqs), attn.out_proj)

    def concept_qkv(self, block: Any, concept: Tensor, call: BlockCall) -> tuple[Tensor, Tensor, Tensor, Any]:
        row = _text_row(call)
        vectors = (part[row].to(concept) for part in block.adaln_proj(call.arguments["t_emb"]))
        shift_msa, scale_msa, *modulation = vectors
        h = block.norm1(concept) * (1.0 + scale_msa) + shift_msa

        rope_freqs = call.rotations(call.arguments["rope_freqs"], 1, slice(0, _text_length(call)))
        rope_freqs = rope_freqs.expand(-1, concept.shape[1], *[-1] * 4).contiguous()
        return *_qkv(block.attn, h, rope_freqs), modulation

    def update_concepts(self, block: Any, concept: Tensor, concept_out: Tensor, modulation: Any) -> Tensor:
        gate_msa, shift_mlp, scale_mlp, gate_mlp = modulation
        concept = concept + gate_msa * block.attn.out_proj(concept_out)
        h = block.norm2(concept) * (1.0 + scale_mlp) + shift_mlp
        return concept + gate_mlp * block.mlp(h)


def _qkv(attn: Any, x: Tensor, rope_freqs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values of tokens (B, N, D), normalised and rotated, (B, heads, N, head_dim)."""
    q, k, v = attn.qkv_proj(x).unflatten(-1, (3, attn.heads, attn.head_dim)).unbind(2)
    q_weight, k_weight = (
        comfy.model_management.cast_to(norm.weight, device=x.device) for norm in (attn.q_norm, attn.k_norm)
    )
    q, k = comfy.quant_ops.ck.rms_rope_split_half(
        q.contiguous(),
        k.contiguous(),
        rope_freqs,
        q_weight,
        k_weight,
        epsilon=attn.q_norm.eps,
        rot_dim=rope_freqs.shape[-3] * 2,
    )
    return q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)


def _attend_to_oneself(attention: Any, q: Tensor, k: Tensor, v: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """The attention of prompts of one token each, (1, heads, C, head_dim) to (1, C, heads * head_dim)."""
    return v.transpose(1, 2).flatten(2)


def _text_length(call: BlockCall) -> int:
    others = sum(len(call.calls[name].output) for name in ("images", "sound"))
    return len(call.arguments["x"]) - others


def _text_row(call: BlockCall) -> int:
    """The row of the modulation that text tokens have; pictures within a prompt have another."""
    length = _text_length(call)
    for _, stop, row in call.arguments["mod_segments"]:
        if stop <= length and int(row) % KINDS == TEXT:
            return int(row)
    raise NotRecordable("the prompt has no words")
