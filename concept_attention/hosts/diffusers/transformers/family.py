"""The base class of all families of transformers, however their concepts are read."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from torch import nn

from ...architecture import Architecture
from ..named import Arguments


class Family(ABC):
    """One family of transformers.

    Attributes:
        name: of the family, also the key of its fidelity mode.
        transformer_class: class of the transformers, or several.
        block_class: class of the blocks that are its layers, or several.
        blocks: name of their list.
    """

    name: ClassVar[str]
    transformer_class: ClassVar[Any]
    block_class: ClassVar[Any]
    blocks: ClassVar[str] = "transformer_blocks"

    def matches(self, transformer: nn.Module) -> bool:
        return isinstance(transformer, self.transformer_class)

    @abstractmethod
    def describe(self, transformer: Any) -> Architecture:
        """The transformer's sizes."""

    @abstractmethod
    def text_width(self, transformer: Any) -> int:
        """The width of the text encoder's embeddings that the model takes."""

    def batch_size(self, arguments: Arguments) -> int:
        """How many rows an evaluation of the transformer has."""
        return len(arguments["hidden_states"])

    @abstractmethod
    def target_grid(self, transformer: Any, arguments: Arguments) -> tuple[int, int, int]:
        """The token grid (T, H, W) of what is made, from the arguments of an evaluation; without reference images."""

    def latent_sides(self, arguments: Arguments) -> tuple[int, int] | None:
        """Latent pixels along height and width where tokens may cover more than there are; None where they do not."""
        return None

    def layers(self, transformer: Any) -> list[nn.Module]:
        """All layers, or what stands in their places, in the order in which they run."""
        return list(getattr(transformer, self.blocks))

    def layer_block(self, module: nn.Module) -> nn.Module:
        """The layer's block inside of what stands in its place, such as a wrapper; the module itself without one."""
        return next((one for one in module.modules() if isinstance(one, self.block_class)), module)
