"""The base class of all adapters: how concept tokens pass through the joint blocks of one family of transformers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

from torch import Tensor, nn

from .... import attention
from ...architecture import Architecture

BlockArguments = Mapping[str, Any]


class HookPoints(NamedTuple):
    """Submodules of a joint block whose inputs and outputs carry the image stream's attention.

    Attributes:
        image_key: its output has the image keys, before RoPE.
        image_value: its output has the image values.
        image_out: its input has the image tokens' attention output, heads together, before the projection.
    """

    image_key: nn.Module
    image_value: nn.Module
    image_out: nn.Module


class Modulation(NamedTuple):
    """The part of a block's modulation that is applied after the attention, each (B or 1, 1, D)."""

    gate_attn: Tensor
    shift_mlp: Tensor
    scale_mlp: Tensor
    gate_mlp: Tensor


class Adapter(ABC):
    """Concept tokens in one family of transformers.

    The defaults hold for blocks that modulate their text by four vectors after the attention, and put text tokens
    before image tokens. A family overrides what differs. Methods follow the order of the model's own computation.

    Attributes:
        name: of the family, also the key of its fidelity mode.
        transformer_class: class of the transformers.
        fused_processor: class of the attention processor of fused projections.
        text_width_key: name of the text encoder's width in the transformer's configuration.
        text_output: index of the text tokens in what a joint block returns.
        joined_output: whether text tokens pass through `HookPoints.image_out` together with the image tokens.
    """

    name: ClassVar[str]
    transformer_class: ClassVar[Any]
    fused_processor: ClassVar[Any] = ()
    text_width_key: ClassVar[str] = "joint_attention_dim"
    text_output: ClassVar[int] = 0
    joined_output: ClassVar[bool] = False

    def matches(self, transformer: nn.Module) -> bool:
        return isinstance(transformer, self.transformer_class)

    def describe(self, transformer: Any) -> Architecture:
        """The transformer's sizes."""
        config = transformer.config
        count = len(transformer.transformer_blocks)
        return Architecture(
            name=self.name,
            joint_blocks=count,
            text_width=getattr(config, self.text_width_key),
            patch=2,
            default_layers=self.default_layers(count),
        )

    @abstractmethod
    def default_layers(self, joint_blocks: int) -> tuple[int, ...]:
        """The joint blocks that `auto` stands for."""

    @abstractmethod
    def target_grid(self, transformer: Any, arguments: Mapping[str, Any]) -> tuple[int, int, int]:
        """The token grid (T, H, W) of what is made, from the arguments of an evaluation; without reference images."""

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

    def hook_points(self, block: Any) -> HookPoints:
        attn, fused = self.attention_module(block), self.is_fused(block)
        key = attn.norm_k if self.normalises_keys(block) else attn.to_qkv if fused else attn.to_k
        return HookPoints(key, attn.to_qkv if fused else attn.to_v, attn.to_out[0])

    def image_keys(self, block: Any, passed: Tensor, block_arguments: BlockArguments) -> Tensor:
        """The output of `HookPoints.image_key` as keys, (B, heads, N, head_dim).

        Args:
            block: the joint block.
            passed: (B, heads, N, head_dim) from a norm; (B, N, D) from a projection, or q, k and v in one, (B, N, 3 D).
            block_arguments: the arguments of the block.
        """
        if self.normalises_keys(block):
            return passed
        passed = passed.chunk(3, dim=-1)[1] if self.is_fused(block) else passed
        return split_heads(self.attention_module(block), passed).transpose(1, 2)

    def image_values(self, block: Any, passed: Tensor, block_arguments: BlockArguments) -> Tensor:
        """The output of `HookPoints.image_value`, (B, N, D) or (B, N, 3 D), as values, (B, heads, N, head_dim)."""
        passed = passed.chunk(3, dim=-1)[2] if self.is_fused(block) else passed
        return split_heads(self.attention_module(block), passed).transpose(1, 2)

    def conditioning_module(self, transformer: Any) -> nn.Module | None:
        """The module whose inputs `concept_conditioning` needs; None if the block arguments are enough."""
        return None

    def concept_conditioning(self, transformer: Any, arguments: tuple[Any, ...]) -> Any:
        """What is the same for the concepts in all blocks, from the inputs of `conditioning_module`."""
        return None

    def project_concepts(self, transformer: Any, embeddings: Tensor) -> Tensor:
        """Text encoder embeddings (B, C, E) to block-0 concept tokens (B, C, D)."""
        return transformer.context_embedder(embeddings)

    def attend_concepts(
        self,
        block: Any,
        concept: Tensor,
        vec: Any,
        image_k: Tensor,
        image_v: Tensor,
        block_arguments: BlockArguments,
        key_bias: Tensor | None = None,
    ) -> tuple[Tensor, Any]:
        """One joint block's attention for the concept tokens.

        Args:
            block: the joint block.
            concept: concept tokens, (B, C, D).
            vec: result of `concept_conditioning`.
            image_k, image_v: keys, normalised and rotated, and values of the image tokens, (B, heads, N, head_dim).
            block_arguments: the arguments of the block; the last B rows are the concepts'.
            key_bias: added to the concept keys' logits, (C,).

        Returns:
            The attention output before the projection, (B, C, heads * head_dim), and what `update_concepts` needs.
        """
        concept_norm, modulation = self.modulate_concepts(block, concept, vec, block_arguments)
        concept_q, concept_k, concept_v = self.concept_heads(block, concept_norm, vec)
        concept_out = attention.attend_concepts(concept_q, concept_k, concept_v, image_k, image_v, key_bias=key_bias)
        return concept_out, modulation

    @abstractmethod
    def modulate_concepts(
        self, block: Any, concept: Tensor, vec: Any, block_arguments: BlockArguments
    ) -> tuple[Tensor, Any]:
        """Concept tokens (B, C, D) as the attention takes them, and the rest of the block's modulation."""

    @abstractmethod
    def concept_heads(self, block: Any, concept_norm: Tensor, vec: Any) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values of modulated concept tokens (B, C, D), each (B, heads, C, head_dim)."""

    def update_concepts(self, block: Any, concept: Tensor, concept_out: Tensor, modulation: Any) -> Tensor:
        """The rest of the block's text path: projection, gate and MLP. (B, C, D) to (B, C, D)."""
        concept = concept + modulation.gate_attn * block.attn.to_add_out(concept_out)
        concept_norm = block.norm2_context(concept)
        concept_norm = concept_norm * (1 + modulation.scale_mlp) + modulation.shift_mlp
        return concept + modulation.gate_mlp * block.ff_context(concept_norm)


def split_heads(attn: Any, tokens: Tensor) -> Tensor:
    """(B, tokens, D) to (B, tokens, heads, head_dim)."""
    return tokens.unflatten(-1, (attn.heads, -1))


def project_text(attn: Any, tokens: Tensor, fused: bool) -> tuple[Tensor, ...]:
    """Queries, keys and values by the text stream's own projections, each (B, tokens, heads, head_dim)."""
    if fused:
        parts = attn.to_added_qkv(tokens).chunk(3, dim=-1)
    else:
        parts = attn.add_q_proj(tokens), attn.add_k_proj(tokens), attn.add_v_proj(tokens)
    return tuple(split_heads(attn, part) for part in parts)
