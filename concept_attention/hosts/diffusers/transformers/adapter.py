"""The base class of all adapters: how concept tokens pass through the joint blocks of one family of transformers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple, Protocol

from torch import Tensor, nn

from ...architecture import Architecture
from ..watch import BlockCall, Watch

Arguments = Mapping[str, Any]


class Heads(NamedTuple):
    """Queries, keys and values, each (B, heads, tokens, head_dim); queries and keys normalised."""

    q: Tensor
    k: Tensor
    v: Tensor


class Attend(Protocol):
    """Attention from concept tokens to what they may attend to."""

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, rows: slice = ...) -> Tensor:
        """Queries, keys and values of the concepts in some observed rows to their attention output, (B, C, D)."""


class Adapter(ABC):
    """Concept tokens in one family of transformers.

    Methods follow the order of the model's own computation.

    Attributes:
        name: of the family, also the key of its fidelity mode.
        transformer_class: class of the transformers.
        block_class: class of their joint blocks.
        blocks: name of their list.
        text_argument: name of the argument of a joint block that has the text tokens, alone or with the image's.
        text_output: index of these tokens in what a block returns; None if it returns nothing else.
        chained: whether a block is called with the very text tokens that the one before returned.
        watch: how the image's part of a block's attention is seen.
        shows_vectors: whether that shows queries and keys before RoPE as well.
    """

    name: ClassVar[str]
    transformer_class: ClassVar[Any]
    block_class: ClassVar[Any]
    blocks: ClassVar[str] = "transformer_blocks"
    text_argument: ClassVar[str] = "encoder_hidden_states"
    text_output: ClassVar[int | None] = 0
    chained: ClassVar[bool] = True
    watch: ClassVar[type[Watch]]
    shows_vectors: ClassVar[bool] = False

    def matches(self, transformer: nn.Module) -> bool:
        return isinstance(transformer, self.transformer_class)

    def describe(self, transformer: Any) -> Architecture:
        """The transformer's sizes."""
        count = len(self.joint_blocks(transformer))
        return Architecture(
            name=self.name,
            joint_blocks=count,
            text_width=self.text_width(transformer),
            patch=2,
            default_layers=self.default_layers(count),
        )

    @abstractmethod
    def text_width(self, transformer: Any) -> int:
        """The width of the text encoder's embeddings that the model takes."""

    @abstractmethod
    def default_layers(self, joint_blocks: int) -> tuple[int, ...]:
        """The joint blocks that `auto` stands for."""

    def batch_size(self, arguments: Arguments) -> int:
        """How many rows an evaluation of the transformer has."""
        return len(arguments["hidden_states"])

    @abstractmethod
    def target_grid(self, transformer: Any, arguments: Arguments) -> tuple[int, int, int]:
        """The token grid (T, H, W) of what is made, from the arguments of an evaluation; without reference images."""

    def joint_blocks(self, transformer: Any) -> list[nn.Module]:
        """All joint blocks, or what stands in their places."""
        return list(getattr(transformer, self.blocks))

    def joint_block(self, module: nn.Module) -> nn.Module:
        """The joint block inside of what stands in its place, such as a wrapper; the module itself if there is none."""
        return next((one for one in module.modules() if isinstance(one, self.block_class)), module)

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
