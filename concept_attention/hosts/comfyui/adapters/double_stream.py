"""The double-stream block that came with Flux and that many models took over: its text path, run on concept tokens.

A family with this block is a subclass that overrides what differs: how concepts are projected and modulated, and where
the target image tokens lie. Phases follow `DoubleStreamBlock.forward` of comfy/ldm/flux/layers.py (0.19 to 0.33), so
the two can be diffed.

Convention: text tokens come first, then the image's tokens, row-major over its patches, then those of reference
images.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from comfy.ldm.flux.math import apply_rope
from torch import Tensor, nn

from ...architecture import AUTHORS_FLUX_LAYERS, Architecture, TokenSlices, last_layers, last_read_layers
from .adapter import Adapter
from .block_call import BlockCall, check_one_text


class Modulation(NamedTuple):
    """Modulation of a block's text tokens around its attention or its MLP, each (B, 1, D)."""

    shift: Tensor
    scale: Tensor
    gate: Tensor


class DoubleStream(Adapter):
    """A family with Flux's double-stream block. `prepare` may return the concepts' own modulation vector, (B, D)."""

    two_streams = True

    def describe_network(
        self, network: Any, name: str, share: float = AUTHORS_FLUX_LAYERS, **differing: Any
    ) -> Architecture:
        """Sizes of a network.

        Args:
            network: the diffusion model.
            name: see `Architecture`.
            share: 0-1; the default layers are the last `share` of the joint blocks.
            differing: fields of `Architecture` that the family overrides.
        """
        count = len(network.double_blocks)
        last = last_layers if len(network.single_blocks) else last_read_layers  # single blocks read the text as well
        return Architecture(
            name=name,
            layer_count=count,
            text_width=network.params.context_in_dim,
            default_layers=last(count, share),
            **{"patch": network.patch_size, **differing},
        )

    def joint_blocks(self, network: Any) -> nn.ModuleList:
        return network.double_blocks

    def token_slices(self, call: BlockCall, keys: int) -> TokenSlices:
        img = call.arguments["img"]
        check_one_text(img, call.arguments["txt"])
        return TokenSlices.text_first(img.shape[1], keys, call.tokens)

    def text_tokens(self, call: BlockCall) -> Tensor:
        return call.arguments["txt"]

    def project_concepts(self, network: Any, embeddings: Tensor, call: BlockCall) -> Tensor:
        return network.txt_in(embeddings)

    def concept_qkv(self, block: Any, concept: Tensor, call: BlockCall) -> tuple[Tensor, Tensor, Tensor, Any]:
        concept_mod1, concept_mod2 = _modulations(block, call)

        concept_modulated = block.txt_norm1(concept)
        concept_modulated = torch.addcmul(concept_mod1.shift, concept_modulated, 1 + concept_mod1.scale)
        concept_qkv = block.txt_attn.qkv(concept_modulated)
        concept_q, concept_k, concept_v = concept_qkv.unflatten(-1, (3, block.num_heads, -1)).permute(2, 0, 3, 1, 4)
        concept_q, concept_k = block.txt_attn.norm(concept_q, concept_k, concept_v)
        concept_q, concept_k = _rotate(concept_q, concept_k, call)
        return concept_q, concept_k, concept_v, (concept_mod1, concept_mod2)

    def update_concepts(self, block: Any, concept: Tensor, concept_out: Tensor, modulation: Any) -> Tensor:
        concept_mod1, concept_mod2 = modulation
        concept = concept + block.txt_attn.proj(concept_out) * concept_mod1.gate
        concept_modulated = torch.addcmul(concept_mod2.shift, block.txt_norm2(concept), 1 + concept_mod2.scale)
        concept = concept + block.txt_mlp(concept_modulated) * concept_mod2.gate
        if concept.dtype == torch.float16:
            concept = torch.nan_to_num(concept, nan=0.0, posinf=65504, neginf=-65504)
        return concept


def _modulations(block: Any, call: BlockCall) -> tuple[Any, Any]:
    """Modulations of the block's attention and of its MLP, with shift, scale and gate each."""
    vec, select = call.arguments["vec"], call.select
    if not block.modulation:  # made outside of the block: a pair for the image, a pair for the text
        first, second = (Modulation(select(one.shift), select(one.scale), select(one.gate)) for one in vec[1])
        return first, second
    if call.prepared is not None:
        return block.txt_mod(call.prepared)
    vec = select(vec)
    parts = call.arguments.get("modulation_dims_txt")
    if parts is not None:  # several vectors, (B, 2, D), and which tokens each is for: (start, end, number)
        vec = vec[:, parts[0][2]]
    return block.txt_mod(vec)


def _rotate(concept_q: Tensor, concept_k: Tensor, call: BlockCall) -> tuple[Tensor, Tensor]:
    """Queries and keys, (B, heads, C, head_dim), rotated to the positions of the text tokens that the call names."""
    if call.arguments["pe"] is None:
        return concept_q, concept_k
    text = slice(0, call.arguments["txt"].shape[1])
    pe = call.rotations(call.arguments["pe"], 2, text)  # (B or 1, 1, C or 1, head_dim / 2, 2, 2)
    # One position per concept, even if they are all the same: the host's kernels need not broadcast it.
    return apply_rope(concept_q, concept_k, pe.expand(-1, -1, concept_q.shape[2], -1, -1, -1).contiguous())
