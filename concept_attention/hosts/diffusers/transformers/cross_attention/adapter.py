"""The base class of families whose text never looks at the image: how the image looks at it, and a concept's keys.

Concepts cannot ride there. They are read as keys: see `text_attention`. A layer's own attention module makes them: it
is called once more, with the concepts for its text and one image token whose attention nobody reads. So every
projection, norm and rotation is the model's own code.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from ....architecture import Architecture, middle_layers
from ....encoded import ConceptText
from ....reasons import NotRecordable
from ...attention_calls import AttentionCall, each_head, listening
from ...named import Arguments
from ...watch import BlockCall
from ..family import Family

Grid = tuple[int, int, int]  # tokens (T, H, W)


class Read(NamedTuple):
    """A layer's attention from the image to the text, of the observed rows.

    Attributes:
        image_q: queries of the generated image's tokens, (B, heads, N, head_dim).
        text_k: keys of the prompt's tokens, (B, heads, T, head_dim).
        text_bias: see `TextAttention`.
        image_out: attention output of these image tokens, (B, N, heads * head_dim).
    """

    image_q: Tensor
    text_k: Tensor
    text_bias: Tensor | None
    image_out: Tensor

    @classmethod
    def of(
        cls, call: BlockCall, attention: AttentionCall, out: Tensor, image: slice, text_k: Tensor, bias: Tensor | None
    ) -> Read:
        """What an attention call says of the tokens `image`; `text_k` has all rows, (B, heads, T, head_dim)."""
        query, out = (part[call.rows][:, :, image] for part in (attention.scaled_query, attention.heads_first(out)))
        text_k = each_head(text_k[call.rows], query.shape[1])
        return cls(query, text_k, bias, out.transpose(1, 2).flatten(2))


class CrossAdapter(Family):
    """One family whose concepts are read as keys.

    Attributes:
        attention_name: name of a layer's module that attends to the text.
        width_name: name in the configuration of the width of the text encoder's embeddings.
        projection: name of the module that the text goes through before the layers; "" if there is none.
        text_argument: name of the argument of the attention module that has the text.
        chained: whether the concepts pass through the layers, all of which they have to meet in order.
        frames_per_latent: see `Architecture`.
    """

    attention_name: ClassVar[str] = "attn2"
    width_name: ClassVar[str] = "caption_channels"
    projection: ClassVar[str] = ""
    text_argument: ClassVar[str] = "encoder_hidden_states"
    chained: ClassVar[bool] = False
    frames_per_latent: ClassVar[int] = 0

    def describe(self, transformer: Any) -> Architecture:
        count, (frame_patch, patch) = len(self.layers(transformer)), self.patch(transformer)
        return Architecture(
            name=self.name,
            layer_count=count,
            text_width=self.text_width(transformer),
            patch=patch,
            default_layers=self.default_layers(transformer),
            frame_patch=frame_patch,
            frames_per_latent=self.frames_per_latent,
            reading="cross",
        )

    def default_layers(self, transformer: Any) -> tuple[int, ...]:
        """The layers that `auto` stands for."""
        return middle_layers(len(self.layers(transformer)), 1 / 3)

    def text_width(self, transformer: Any) -> int:
        return int(transformer.config[self.width_name])

    def patch(self, transformer: Any) -> tuple[int, int]:
        """Latent frames and latent pixels along a side of a token."""
        size = transformer.config["patch_size"]
        if not isinstance(size, int):
            return size[0], size[1]
        return transformer.config.get("patch_size_t") or 1, size

    def target_grid(self, transformer: Any, arguments: Arguments) -> Grid:
        """That of a latent (B, channels, height, width) or (B, channels, frames, height, width)."""
        *frames, height, width = arguments["hidden_states"].shape[2:]
        frame_patch, patch = self.patch(transformer)
        return (frames[0] // frame_patch if frames else 1), height // patch, width // patch

    def layer_grid(self, transformer: Any, layer: int, arguments: Arguments) -> Grid:
        """The token grid of a layer; that of the recording where all layers have the same."""
        return self.target_grid(transformer, arguments)

    def attention(self, block: Any) -> nn.Module:
        """The module of a layer that attends to the text."""
        module: nn.Module = getattr(block, self.attention_name)
        return module

    def places(self, transformer: Any, arguments: Arguments) -> Any:
        """What `read` needs to know of the arguments of an evaluation, once for all layers."""
        return None

    def begin(self, texts: Sequence[ConceptText], call: BlockCall) -> Any:
        """The concepts' tokens for the first layer.

        Args:
            texts: in the dtype and on the device that the model computes in.
            call: of the first layer that is read.
        """
        return [self.concept_tokens(call.transformer, text, call) for text in texts]

    def concept_tokens(self, transformer: Any, text: ConceptText, call: BlockCall) -> Tensor:
        """A concept's tokens as the layers get a prompt's, (1 or B, n, D)."""
        tokens = text.tokens[None]
        return transformer.get_submodule(self.projection)(tokens) if self.projection else tokens

    def concept_keys(
        self, call: BlockCall, given: Arguments, tokens: Any, texts: Sequence[ConceptText]
    ) -> tuple[list[Tensor], Any]:
        """A layer's keys of every concept, (1 or B, heads, n, head_dim), and the tokens for the next layer.

        Args:
            call: of the layer.
            given: arguments of its attention module, by name.
            tokens: of the concepts, as `begin` or the layer before made them.
            texts: what they were made of.
        """
        counts = [part.shape[1] for part in tokens]
        rows = max(map(len, tokens))
        joined = torch.cat([part.expand(rows, -1, -1) for part in tokens], dim=1)
        module = self.attention(call.block)
        heard = heard_keys(module, self.concept_arguments(module, joined, call, given))
        keys = next(key for key in heard if key.shape[2] >= sum(counts))
        return list(keys[:, :, : sum(counts)].split(counts, dim=2)), tokens

    def steady(self, transformer: Any) -> bool:
        """Whether a concept's keys are the same in every step."""
        return False

    def concept_arguments(self, module: Any, tokens: Tensor, call: BlockCall, given: Arguments) -> dict[str, Any]:
        """The arguments of the attention module with concepts for text, (1 or B, J, D), and one image token."""
        none = {name: None for name in given if name.endswith(("mask", "rotary_emb"))}
        image = call.select(given["hidden_states"])[: len(tokens), :1]
        text = self.with_text(given[self.text_argument], tokens)
        return {**given, **none, "hidden_states": image.expand(len(tokens), -1, -1), self.text_argument: text}

    def with_text(self, text: Any, tokens: Tensor) -> Any:
        """What the attention module gets for its text, of concept tokens (1 or B, J, D) in place of the prompt's."""
        return tokens

    def read(self, call: BlockCall, given: Arguments, attention: AttentionCall, out: Tensor, grid: Grid) -> Read | None:
        """What an attention call of a layer says, or None if it is not the one to the text.

        Args:
            call: of the layer.
            given: arguments of its attention module, by name.
            attention: one of the calls that it makes.
            out: what that gave.
            grid: tokens of the layer.

        Raises:
            NotRecordable: if the image's tokens cannot be told.
        """
        keys = attention.heads_first(attention.key)
        if not self.is_text(call, given, keys.shape[2]):
            return None
        image = self.image_tokens(call, attention.heads_first(attention.query).shape[2], grid)
        bias = attention.bias(call.rows)
        if bias is not None and bias.shape[-2] > 1:
            bias = bias[..., image, :]
        return Read.of(call, attention, out, image, keys, bias)

    def is_text(self, call: BlockCall, given: Arguments, keys: int) -> bool:
        """Whether an attention call with so many keys is the one to the text."""
        text = given[self.text_argument]
        return keys == (text[0] if isinstance(text, tuple) else text).shape[1]

    def image_tokens(self, call: BlockCall, count: int, grid: Grid) -> slice:
        """The generated image's tokens among `count` queries.

        Raises:
            NotRecordable: if they cannot be told.
        """
        tokens = grid[0] * grid[1] * grid[2]
        if count != tokens:
            raise NotRecordable(f"its cross-attention has {count} image tokens, what is made has {tokens}")
        return slice(0, count)


def heard_keys(module: Any, arguments: Arguments) -> list[Tensor]:
    """The keys of every attention call of a module, (B, heads, n, head_dim), which answers nothing."""
    heard: list[Tensor] = []

    def answer(attention: AttentionCall) -> Tensor:
        query, key = (attention.heads_first(part) for part in (attention.query, attention.key))
        heard.append(each_head(key, query.shape[1]))
        return torch.zeros_like(attention.query)

    with listening(answer):
        type(module).forward(module, **arguments)
    return heard
