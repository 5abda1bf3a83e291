"""What an architecture family's module tells the engine, and what most families have in common.

Every family is a module with the functions of `Adapter`, in their order. What a family has no say in it takes over from
here: `conditioning_modules = adapter.conditioning_modules`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from torch import Tensor, nn

from ...architecture import Architecture, TokenSlices
from .block_call import BlockCall, ModuleCall, Rows


class Adapter(Protocol):
    """One architecture family: how concepts ride through its joint blocks on the text stream's weights.

    Attributes:
        SUPPORTED: models, as users know them.
    """

    SUPPORTED: tuple[str, ...]

    def matches(self, model: Any) -> bool:
        """Whether a BaseModel of ComfyUI is of this family; asked of every model, so it must not raise."""

    def describe(self, model: Any) -> Architecture:
        """Sizes of a model that matches."""

    def joint_blocks(self, network: Any) -> nn.ModuleList:
        """The network's own list of joint blocks."""

    def token_slices(self, call: BlockCall, keys: int, tokens: int) -> TokenSlices:
        """Where the streams lie among the `keys` keys of a block's attention, of which the picture has `tokens`."""

    def conditioning_modules(self, network: Any) -> Mapping[str, nn.Module]:
        """Submodules whose last call before the first joint block is needed, by names of the adapter's own."""

    def concept_modulation(self, network: Any, calls: Mapping[str, ModuleCall], rows: Rows) -> Any:
        """What `attend_concepts` gets as `vec`; None where every block is told what modulates its text."""

    def project_concepts(self, network: Any, embeddings: Tensor, calls: Mapping[str, ModuleCall], rows: Rows) -> Tensor:
        """Text encoder embeddings (1, C, E) to block-0 concept tokens, (B, C, D), or (1, C, D) if rows do not differ.

        Args:
            network: the diffusion model.
            embeddings: one per concept, in the dtype and on the device the model computes in.
            calls: the `conditioning_modules` as they were called, all rows of the batch.
            rows: of the batch, which are looked at; there are B of them.
        """

    def attend_concepts(
        self,
        block: Any,
        concept: Tensor,
        vec: Any,
        image_k: Tensor,
        image_v: Tensor,
        call: BlockCall,
        key_bias: Tensor | None = None,
    ) -> tuple[Tensor, Any]:
        """One joint block's attention for the concept tokens.

        Args:
            block: the block that is running.
            concept: concept tokens, (B, C, D).
            vec: what `concept_modulation` returned.
            image_k, image_v: keys, as the host's attention got them (normalised and, where the model rotates them,
                rotated), and values of the image tokens, (B, heads, N, head_dim); fewer heads where they are grouped.
            call: this call of the block.
            key_bias: added to the concept keys' logits, (C,).

        Returns:
            The attention output before the projection, (B, C, heads * head_dim), and what `update_concepts` needs of
            the block's modulation.
        """

    def update_concepts(self, block: Any, concept: Tensor, concept_out: Tensor, modulation: Any) -> Tensor:
        """The rest of the block's text path, such as projection, gate and MLP: (B, C, D) to (B, C, D).

        Args:
            block, concept: as of `attend_concepts`.
            concept_out, modulation: what it returned.
        """


def conditioning_modules(network: Any) -> Mapping[str, nn.Module]:
    """None: every block is told what modulates its text."""
    return {}


def concept_modulation(network: Any, calls: Mapping[str, ModuleCall], rows: Rows) -> None:
    """None: concepts are modulated as the prompt's tokens are."""
