"""Base class of families with cross-attention: how a layer makes keys of a text, and where its queries and keys appear.

Concepts cannot ride there, as no text token ever looks at the image. They are read as keys: see `text_attention`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, NamedTuple

from torch import Tensor, nn

from ....encoded import ConceptText
from ...guard import NotRecordable
from ..block_call import BlockCall
from ..family import Family

Grid = tuple[int, int, int]  # tokens (T, H, W)


class CrossModules(NamedTuple):
    """Where a layer's cross-attention to the text can be observed.

    Attributes:
        queries: the module whose output are the queries of the image tokens, as the attention gets them or as
            `finish_queries` takes them.
        keys: the same for the keys of the text, and `prompt_keys`.
        output: the output projection, whose input is the attention's output.
        heads: number of heads.
    """

    queries: nn.Module
    keys: nn.Module
    output: nn.Module
    heads: int


class CrossAdapter(Family):
    """One family with cross-attention.

    The modules around the attention are observed, not the attention: other packs often replace that.
    """

    @abstractmethod
    def cross_modules(self, block: Any) -> CrossModules:
        """The modules of a layer's cross-attention to the text; `queries` runs before `keys`."""

    @abstractmethod
    def concept_keys(self, block: Any, tokens: Tensor, call: BlockCall) -> Tensor:
        """A layer's keys of concept tokens, in the layout of the `keys` module's output.

        Args:
            block: the layer that is running.
            tokens: of all concepts, (1 or B, J, E), as `concept_tokens` and `refine_tokens` made them.
            call: this call of the layer.
        """

    def concept_tokens(self, network: Any, text: ConceptText) -> Tensor:
        """A concept's own tokens as the network gets those of a prompt, (n, E); called once per run.

        Or all of its text, for `refine_tokens` to choose from; or, where these do not depend on the image, what
        `concept_keys` takes a layer's keys from.

        Args:
            network: the diffusion model.
            text: the concept's, in the dtype and on the device the model computes in.
        """
        return text.tokens

    def refine_tokens(
        self, network: Any, tokens: Sequence[Tensor], texts: Sequence[ConceptText], call: BlockCall
    ) -> Sequence[Tensor]:
        """Each concept's tokens as the first layer gets those of a prompt; called once per forward pass.

        Args:
            network: the diffusion model.
            tokens: of every concept, (1, n, E).
            texts: what they were made of.
            call: the first layer's.

        Returns:
            Of every concept, (1 or B, n, E').
        """
        return tokens

    def text_bias(self, call: BlockCall) -> Tensor | None:
        """What the layer adds to the logits of the prompt's tokens, broadcast to (B, heads, N, T); all rows."""
        return None

    def split_heads(self, states: Tensor, heads: int) -> Tensor:
        """Queries or keys by heads, (B, heads, N, head_dim); given as (B, N, heads * head_dim) or by heads behind N."""
        return states.reshape(*states.shape[:2], heads, -1).transpose(1, 2)

    def called_module(self, block: Any) -> nn.Module:
        """The module of a layer whose call is the layer's: the block, unless its parts are called by themselves."""
        return block

    def observes(self, network: Any, call: BlockCall) -> bool:
        """Whether a call of a layer is one whose image looks at the text."""
        return True

    def prompt_keys(self, block: Any, keys: Tensor, batch: int, call: BlockCall) -> Tensor:
        """The prompt's keys as the attention gets them, from the output of the `keys` module, for so many rows."""
        return keys

    def finish_queries(self, block: Any, queries: Tensor, call: BlockCall) -> Tensor:
        """What the layer does with the output of the `queries` module before its attention; in the same layout."""
        return queries

    def batch_first(self, output: Tensor) -> Tensor:
        """The input of the `output` module as (B, N, heads * head_dim)."""
        return output

    def image_tokens(self, network: Any, call: BlockCall, count: int, grid: Grid) -> tuple[slice, Grid]:
        """The tokens of the generated image among `count` queries, and their grid.

        Args:
            network: the diffusion model.
            call: the layer's.
            grid: tokens of the recording.

        Raises:
            NotRecordable: if they cannot be told.
        """
        tokens = grid[0] * grid[1] * grid[2]
        if count != tokens:
            raise NotRecordable(f"its cross-attention has {count} image tokens, the target image has {tokens}")
        return slice(0, count), grid
