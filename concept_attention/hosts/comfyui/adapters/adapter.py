"""Base class of families with joint blocks: how concepts go through these on the text's weights."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar

from torch import Tensor, nn

from .... import attention
from ...architecture import TokenSlices
from .block_call import AttentionModules, BlockCall, GivenAttention
from .family import Family


class Adapter(Family):
    """One family with joint blocks.

    Attributes:
        two_streams: whether text and image tokens pass through layers of their own, or together in the order of
            `token_slices`; such a family has `text_tokens`.
    """

    two_streams: ClassVar[bool] = False

    def layers(self, network: Any) -> nn.ModuleList:
        return self.joint_blocks(network)

    @abstractmethod
    def joint_blocks(self, network: Any) -> nn.ModuleList:
        """The network's own list of joint blocks."""

    @abstractmethod
    def token_slices(self, call: BlockCall, keys: int) -> TokenSlices:
        """Where the image tokens lie among the `keys` tokens of a block's attention; `call` has no `prepared` yet.

        Keys that a cache has added behind them, which have no query, do not count.

        Raises:
            NotRecordable: if another pack has changed the call.
        """

    def text_tokens(self, call: BlockCall) -> Tensor:
        """The text tokens that a joint block is called with, (B, T, D), all rows of the batch."""
        raise NotImplementedError(f"{type(self).__name__} has no text tokens of their own.")

    def attention_modules(self, block: Any) -> AttentionModules | None:
        """The modules around a joint block's attention, where ComfyUI hands the block no options; else None."""
        return None

    def given_attention(self, block: Any, call: BlockCall) -> GivenAttention | None:
        """The attention that a joint block is called with in place of its own; None if it runs its own."""
        return None

    def finish_attention(self, block: Any, call: BlockCall, part: str, states: Tensor) -> Tensor:
        """What a block with `attention_modules` does with queries or keys before its attention.

        Args:
            block, call: see `concept_qkv`.
            part: `queries` or `keys`.
            states: output of that module, all rows, (B, heads, N, head_dim).
        """
        return states

    def prepare(self, network: Any, call: BlockCall) -> Any:
        """What all blocks need and none receives, computed once per forward pass for `BlockCall.prepared`.

        None if each block receives its text modulation as an argument.
        """
        return None

    @abstractmethod
    def project_concepts(self, network: Any, embeddings: Tensor, call: BlockCall) -> Tensor:
        """Project text-encoder embeddings to block-0 concept tokens, each a prompt of its own.

        Args:
            network: the diffusion model.
            embeddings: one per concept, (1, C, E), in the dtype and on the device the model computes in.
            call: the first joint block's.

        Returns:
            (B, C, D), or (1, C, D) if all rows are the same.
        """

    @abstractmethod
    def concept_qkv(self, block: Any, concept: Tensor, call: BlockCall) -> tuple[Tensor, Tensor, Tensor, Any]:
        """The text path of a joint block up to its attention, run on the concept tokens.

        Args:
            block: the block that is running.
            concept: concept tokens, (B, C, D).
            call: this call of the block.

        Returns:
            Queries, keys and values, normalised and, where the model rotates text, rotated, (B, heads, C, head_dim),
            keys and values possibly with fewer heads; and what `update_concepts` needs of the block's modulation.
        """

    def attend_concepts(
        self,
        block: Any,
        concept: Tensor,
        image_k: Tensor,
        image_v: Tensor,
        call: BlockCall,
        key_bias: Tensor | None = None,
    ) -> tuple[Tensor, Any]:
        """One joint block's attention for the concept tokens.

        Args:
            block, concept, call: see `concept_qkv`.
            image_k, image_v: keys and values of the image tokens, as the host's attention received them,
                (B, heads, N, head_dim); fewer heads where several queries share one.
            key_bias: added to the concept keys' logits, (C,).

        Returns:
            The attention output before the projection, (B, C, heads * head_dim), and the block's modulation for
            `update_concepts`.
        """
        concept_q, concept_k, concept_v, modulation = self.concept_qkv(block, concept, call)
        heads = concept_q.shape[1]
        keys_and_values = (_expand_heads(part, heads) for part in (concept_k, concept_v, image_k, image_v))
        return attention.attend_concepts(concept_q, *keys_and_values, key_bias=key_bias), modulation

    @abstractmethod
    def update_concepts(self, block: Any, concept: Tensor, concept_out: Tensor, modulation: Any) -> Tensor:
        """The text path of a joint block after its attention (projection, gate, MLP): (B, C, D) to (B, C, D).

        Args:
            block, concept: see `concept_qkv`.
            concept_out, modulation: what `attend_concepts` returned.
        """


def _expand_heads(part: Tensor, heads: int) -> Tensor:
    """Keys or values with one head per query head; a copy only where several queries share one."""
    shared = heads // part.shape[1]
    return part if shared == 1 else part.repeat_interleave(shared, dim=1)
