"""The base class of adapters that spell out the text path of their blocks.

Hooks on the submodules of a block see its image queries, keys, values and attention output, so that these families show
all vectors of a block, also those before RoPE. A family without that need takes `own_block.py`, which is less to write.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, NamedTuple

from torch import Tensor, nn

from ..watch import BlockCall, SubmoduleWatch
from .adapter import Adapter, Attend, Heads

BlockArguments = Mapping[str, Any]
Part = Literal[0, 1, 2]  # queries, keys, values


class HookPoints(NamedTuple):
    """Submodules of a joint block whose inputs and outputs carry the image stream's attention.

    Attributes:
        image_query: its output has the image queries, before RoPE.
        image_key: its output has the image keys, before RoPE.
        image_value: its output has the image values.
        image_out: its input has the image tokens' attention output, heads together, before the projection.
    """

    image_query: nn.Module
    image_key: nn.Module
    image_value: nn.Module
    image_out: nn.Module


class Modulation(NamedTuple):
    """The part of a block's modulation that is applied after the attention, each (B or 1, 1, D)."""

    gate_attn: Tensor
    shift_mlp: Tensor
    scale_mlp: Tensor
    gate_mlp: Tensor


class TextPathAdapter(Adapter):
    """Concept tokens in one family of transformers, through the text's own modules, one after the other.

    The defaults hold for blocks that modulate their text by four vectors after the attention, and put text tokens
    before image tokens. A family overrides what differs. Methods follow the order of the model's own computation.

    Attributes:
        fused_processor: class of the attention processor of fused projections.
        text_width_key: name of the text encoder's width in the transformer's configuration.
        joined_output: whether text tokens pass through `HookPoints.image_out` together with the image tokens.
    """

    watch = SubmoduleWatch
    shows_vectors = True
    fused_processor: ClassVar[Any] = ()
    text_width_key: ClassVar[str] = "joint_attention_dim"
    joined_output: ClassVar[bool] = False

    def text_width(self, transformer: Any) -> int:
        return int(getattr(transformer.config, self.text_width_key))

    def attention_module(self, block: Any) -> Any:
        return block.attn

    def is_fused(self, block: Any) -> bool:
        """Whether q, k and v come from one projection. The attention's own flag stays set after unfusing."""
        return isinstance(self.attention_module(block).processor, self.fused_processor)

    def normalises_keys(self, block: Any) -> bool:
        return self.attention_module(block).norm_k is not None

    def image_slice(self, block_arguments: BlockArguments) -> slice:
        """Where the image tokens are in the joint sequence."""
        return slice(block_arguments["encoder_hidden_states"].shape[1], None)

    def image_tokens(self, call: BlockCall, keys: int) -> slice:
        """Where the image's tokens are among the `keys` tokens of a block's attention."""
        return slice(*self.image_slice(call.arguments).indices(keys))

    def hook_points(self, block: Any) -> HookPoints:
        attn, fused = self.attention_module(block), self.is_fused(block)
        query, key, value = (attn.to_qkv,) * 3 if fused else (attn.to_q, attn.to_k, attn.to_v)
        if self.normalises_keys(block):
            query, key = attn.norm_q, attn.norm_k
        return HookPoints(query, key, value, attn.to_out[0])

    def image_heads(self, block: Any, passed: Tensor, part: Part, block_arguments: BlockArguments) -> Tensor:
        """What passed a hook point, as heads of the image tokens before RoPE, (B, heads, N, head_dim).

        Args:
            block: the joint block.
            passed: (B, heads, N, head_dim) from a norm; (B, N, D) from a projection, or q, k and v in one, (B, N, 3 D).
            part: 0 for queries, 1 for keys, 2 for values.
            block_arguments: the arguments of the block.
        """
        if part < 2 and self.normalises_keys(block):
            return passed
        passed = passed.chunk(3, dim=-1)[part] if self.is_fused(block) else passed
        return split_heads(self.attention_module(block), passed).transpose(1, 2)

    def rotate_image(self, heads: Tensor, block_arguments: BlockArguments) -> Tensor:
        """Queries or keys of all image tokens, (B, heads, N, head_dim), after RoPE; unchanged in a model without."""
        return heads

    def project_concepts(self, transformer: Any, embeddings: Tensor, call: BlockCall | None = None) -> Tensor:
        return transformer.context_embedder(embeddings)

    def attend_concepts(
        self, block: Any, concept: Tensor, vec: Any, attend: Attend, call: BlockCall
    ) -> tuple[Tensor, Heads, Any]:
        concept_norm, modulation = self.modulate_concepts(block, concept, vec, call.arguments)
        heads = self.concept_heads(block, concept_norm)
        concept_q, concept_k = self.rotate_concepts(heads.q, vec), self.rotate_concepts(heads.k, vec)
        return attend(concept_q, concept_k, heads.v), heads, modulation

    @abstractmethod
    def modulate_concepts(
        self, block: Any, concept: Tensor, vec: Any, block_arguments: BlockArguments
    ) -> tuple[Tensor, Any]:
        """Concept tokens (B, C, D) as the attention takes them, and the rest of the block's modulation."""

    @abstractmethod
    def concept_heads(self, block: Any, concept_norm: Tensor) -> Heads:
        """The heads of modulated concept tokens (B, C, D)."""

    def rotate_concepts(self, heads: Tensor, vec: Any) -> Tensor:
        """Queries or keys of concepts, (B, heads, C, head_dim), after RoPE; unchanged where concepts have no position.

        Position ids of zero, as Flux 1 has them, rotate by nothing.
        """
        return heads

    def update_concepts(self, block: Any, concept: Tensor, concept_out: Tensor, modulation: Any) -> Tensor:
        """The rest of the block's text path: projection, gate and MLP. (B, C, D) to (B, C, D)."""
        concept = concept + modulation.gate_attn * block.attn.to_add_out(concept_out)
        concept_norm = block.norm2_context(concept)
        concept_norm = concept_norm * (1 + modulation.scale_mlp) + modulation.shift_mlp
        return concept + modulation.gate_mlp * block.ff_context(concept_norm)


def split_heads(attn: Any, tokens: Tensor) -> Tensor:
    """(B, tokens, D) to (B, tokens, heads, head_dim)."""
    return tokens.unflatten(-1, (attn.heads, -1))


def project_text(attn: Any, tokens: Tensor, fused: bool) -> Heads:
    """Queries, keys and values by the text stream's own projections, not normalised."""
    if fused:
        parts = attn.to_added_qkv(tokens).chunk(3, dim=-1)
    else:
        parts = attn.add_q_proj(tokens), attn.add_k_proj(tokens), attn.add_v_proj(tokens)
    return Heads(*(split_heads(attn, part).transpose(1, 2) for part in parts))
