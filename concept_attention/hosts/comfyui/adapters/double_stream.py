"""The text path of the double-stream block that came with Flux and that many models took over, run on concept tokens.

An adapter of such a model takes these functions as they are, and writes those in which it differs: how its concepts
are made and modulated, and what stands between them and the picture. Phases follow `DoubleStreamBlock.forward` of
comfy/ldm/flux/layers.py (0.19 to 0.33), so the two can be diffed.

Convention: text tokens come first, then the picture's tokens, row-major over its patches, then those of reference
pictures.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from comfy.ldm.flux.math import apply_rope
from torch import Tensor, nn

from .... import attention
from ...architecture import AUTHORS_FLUX_LAYERS, Architecture, TokenSlices, last_layers, last_read_layers
from . import adapter
from .block_call import BlockCall, ModuleCall, Rows


class Modulation(NamedTuple):
    """What a block does to its text tokens before and after one of its layers, each (B, 1, D)."""

    shift: Tensor
    scale: Tensor
    gate: Tensor


def describe(network: Any, name: str, share: float = AUTHORS_FLUX_LAYERS, **differing: Any) -> Architecture:
    """Sizes of a network; `auto` stands for the last `share` of its joint blocks. `differing` are of this family."""
    count = len(network.double_blocks)
    last = last_layers if len(network.single_blocks) else last_read_layers  # single-stream blocks read the text as well
    sizes = {
        "joint_blocks": count,
        "heads": network.num_heads,
        "head_dim": network.hidden_size // network.num_heads,
        "text_width": network.params.context_in_dim,
        "patch": network.patch_size,
        "default_layers": last(count, share),
    }
    return Architecture(name, **{**sizes, **differing})


def joint_blocks(network: Any) -> nn.ModuleList:
    return network.double_blocks


def token_slices(call: BlockCall, keys: int, tokens: int) -> TokenSlices:
    return TokenSlices.text_first(call.arguments["img"].shape[1], keys, tokens)


conditioning_modules = adapter.conditioning_modules
concept_modulation = adapter.concept_modulation


def project_concepts(network: Any, embeddings: Tensor, calls: Mapping[str, ModuleCall], rows: Rows) -> Tensor:
    """Text encoder embeddings (1, C, E) to block-0 concept tokens, (1, C, D), the same in every row."""
    return network.txt_in(embeddings)


def attend_concepts(
    block: Any,
    concept: Tensor,
    vec: Tensor | None,
    image_k: Tensor,
    image_v: Tensor,
    call: BlockCall,
    key_bias: Tensor | None = None,
) -> tuple[Tensor, Any]:
    """Of a `DoubleStreamBlock`; see `Adapter`. `vec` is (B, D), or None where the prompt's is the concepts'."""
    concept_mod1, concept_mod2 = _modulations(block, vec, call)

    concept_modulated = block.txt_norm1(concept)
    concept_modulated = torch.addcmul(concept_mod1.shift, concept_modulated, 1 + concept_mod1.scale)
    concept_qkv = block.txt_attn.qkv(concept_modulated)
    concept_q, concept_k, concept_v = concept_qkv.unflatten(-1, (3, block.num_heads, -1)).permute(2, 0, 3, 1, 4)
    concept_q, concept_k = block.txt_attn.norm(concept_q, concept_k, concept_v)
    concept_q, concept_k = _rotate(concept_q, concept_k, call)

    concept_out = attention.attend_concepts(concept_q, concept_k, concept_v, image_k, image_v, key_bias=key_bias)
    return concept_out, (concept_mod1, concept_mod2)


def update_concepts(block: Any, concept: Tensor, concept_out: Tensor, modulation: Any) -> Tensor:
    """The rest of the block's text path: projection, gate and MLP. (B, C, D) to (B, C, D)."""
    concept_mod1, concept_mod2 = modulation
    concept = concept + block.txt_attn.proj(concept_out) * concept_mod1.gate
    concept_modulated = torch.addcmul(concept_mod2.shift, block.txt_norm2(concept), 1 + concept_mod2.scale)
    concept = concept + block.txt_mlp(concept_modulated) * concept_mod2.gate
    if concept.dtype == torch.float16:
        concept = torch.nan_to_num(concept, nan=0.0, posinf=65504, neginf=-65504)
    return concept


def _modulations(block: Any, vec: Tensor | None, call: BlockCall) -> tuple[Any, Any]:
    """Those of the block's attention and of its MLP, with shift, scale and gate each."""
    told, select = call.arguments["vec"], call.select
    if not block.modulation:  # made outside of the block: of the image a pair, of the text a pair
        first, second = (Modulation(select(one.shift), select(one.scale), select(one.gate)) for one in told[1])
        return first, second
    if vec is None:
        vec = select(told)
        parts = call.arguments.get("modulation_dims_txt")
        if parts is not None:  # several vectors, (B, 2, D), and which of them is for which tokens: (start, end, number)
            vec = vec[:, parts[0][2]]
    return block.txt_mod(vec)


def _rotate(concept_q: Tensor, concept_k: Tensor, call: BlockCall) -> tuple[Tensor, Tensor]:
    """Queries and keys, (B, heads, C, head_dim), turned to the place of those text tokens that the call names."""
    if call.arguments["pe"] is None:
        return concept_q, concept_k
    text = slice(0, call.arguments["txt"].shape[1])
    pe = call.rotations(call.arguments["pe"], 2, text)  # (B or 1, 1, C or 1, head_dim / 2, 2, 2)
    # A place for every concept, also where it is the same one: the host's kernels need not repeat it.
    return apply_rope(concept_q, concept_k, pe.expand(-1, -1, concept_q.shape[2], -1, -1, -1).contiguous())
