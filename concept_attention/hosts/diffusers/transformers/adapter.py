"""The base class of all adapters: how concept tokens pass through the joint blocks of one family of transformers."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar, NamedTuple, Protocol

from torch import Tensor, nn

from ...architecture import Architecture
from ..watch import BlockCall, Watch
from .family import Family


class Heads(NamedTuple):
    """Queries, keys and values, each (B, heads, tokens, head_dim); queries and keys normalised."""

    q: Tensor
    k: Tensor
    v: Tensor


class Attend(Protocol):
    """Attention from concept tokens to what they may attend to."""

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, rows: slice = ...) -> Tensor:
        """Queries, keys and values of the concepts in some observed rows to their attention output, (B, C, D)."""


class Adapter(Family):
    """Concept tokens in one family of transformers; its layers are joint blocks.

    Methods follow the order of the model's own computation.

    Attributes:
        text_argument: name of the argument of a joint block that has the text tokens, alone or with the image's.
        text_output: index of these tokens in what a block returns; None if it returns nothing else.
        chained: whether a block is called with the very text tokens that the one before returned.
        watch: how the image's part of a block's attention is seen.
        shows_vectors: whether that shows queries and keys before RoPE as well.
    """

    text_argument: ClassVar[str] = "encoder_hidden_states"
    text_output: ClassVar[int | None] = 0
    chained: ClassVar[bool] = True
    watch: ClassVar[type[Watch]]
    shows_vectors: ClassVar[bool] = False

    def describe(self, transformer: Any) -> Architecture:
        count = len(self.layers(transformer))
        return Architecture(
            name=self.name,
            layer_count=count,
            text_width=self.text_width(transformer),
            patch=2,
            default_layers=self.default_layers(count),
        )

    @abstractmethod
    def default_layers(self, layer_count: int) -> tuple[int, ...]:
        """The joint blocks that `auto` stands for."""

    def conditioning_module(self, transformer: Any) -> nn.Module | None:
        """The module whose inputs `concept_conditioning` needs; None if other arguments are enough."""
        return None

    def concept_conditioning(self, transformer: Any, arguments: tuple[Any, ...]) -> Any:
        """What is the same for the concepts in all blocks, from the inputs of `conditioning_module`."""
        return arguments

    @abstractmethod
    def project_concepts(self, transformer: Any, embeddings: Tensor, call: BlockCall) -> Tensor:
        """Text encoder embeddings (B, C, E) to block-0 concept tokens (B, C, D), each a prompt of its own.

        Args:
            transformer: the model.
            embeddings: in the dtype and on the device that it computes in.
            call: of the first joint block.
        """

    @abstractmethod
    def attend_concepts(
        self, block: Any, concept: Tensor, vec: Any, attend: Attend, call: BlockCall
    ) -> tuple[Tensor, Heads, Any]:
        """One joint block's attention for the concept tokens.

        Args:
            block: the joint block.
            concept: concept tokens, (B, C, D).
            vec: result of `concept_conditioning`.
            attend: attention over concepts and image.
            call: of the block.

        Returns:
            The attention output before the projection, (B, C, heads * head_dim); the concepts' heads; and what
                `update_concepts` needs.
        """

    @abstractmethod
    def update_concepts(self, block: Any, concept: Tensor, concept_out: Tensor, modulation: Any) -> Tensor:
        """The rest of the block's text path: projection, gate and MLP. (B, C, D) to (B, C, D)."""
