"""What a concept stream sees of a joint block: keys, values and attention output of the image tokens.

There are two ways to see them, and a family has one of them: hooks on the submodules around the attention, which also
show what is there before RoPE, and the attention call itself.
"""

from __future__ import annotations

import functools
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .attention_calls import AttentionCall, each_head, heard, listen, places_of
from .run_hooks import Hook


@dataclass(frozen=True)
class BlockCall:
    """A joint block that runs.

    Attributes:
        transformer: that it is a block of.
        evaluation: arguments of the transformer, by name.
        conditioning: positional arguments of the adapter's `conditioning_module` in this evaluation.
        layer: index of the block.
        block: the block.
        arguments: of the block, by name.
        rows: the observed rows of the batch.
        batch: all rows of the batch.
        places: what the adapter found out about the evaluation, see `CrossAdapter.places`.
    """

    transformer: Any
    evaluation: Mapping[str, Any]
    conditioning: tuple[Any, ...]
    layer: int
    block: Any
    arguments: Mapping[str, Any]
    rows: slice
    batch: int
    places: Any = None

    def select(self, tensor: Any) -> Any:
        """The observed rows of what has a batch axis; what has none, or one row for all, as it is."""
        return tensor if tensor is None or len(tensor) == 1 else tensor[self.rows]


@dataclass(frozen=True, eq=False)
class ImageAttention:
    """The image's part of a joint attention, of the observed rows.

    Attributes:
        key, value: (B, heads, N, head_dim), keys after RoPE.
        out: attention output before the projection, (B, N, heads * head_dim).
        text: queries of the image, (B, heads, N, head_dim), keys of the prompt, (B, heads, T, head_dim), and what is
            added to their logits or None, where they are looked at.
        vectors: `image_q`, `image_k` and `rotate_image` as `JointVectors` has them, where they are looked at.
    """

    key: Tensor
    value: Tensor
    out: Tensor
    text: tuple[Tensor, Tensor, Tensor | None] | None = None
    vectors: Mapping[str, Any] = field(default_factory=dict)


class Watch(ABC):
    """Sees the image's part in the attention of each joint block.

    Args:
        adapter: of the transformer.
        looking: a context that ends the evaluation's concepts where looking fails.
        on_attention: called with the block's call and what was seen, or None where it could not be.
        queries: whether what is there before RoPE is looked at as well.
        text: whether the prompt's keys are looked at as well.
    """

    def __init__(
        self,
        adapter: Any,
        looking: Callable[[], AbstractContextManager[None]],
        on_attention: Callable[[BlockCall, ImageAttention | None], None],
        queries: bool = False,
        text: bool = False,
    ) -> None:
        self._adapter = adapter
        self._looking = looking
        self._on_attention = on_attention
        self._queries = queries
        self._text = text
        self._call: BlockCall | None = None

    @property
    def attending(self) -> bool:
        """Whether a block runs that has not attended yet."""
        return self._call is not None

    @abstractmethod
    def install(self, hook: Hook, undo: ExitStack, block: Any) -> None:
        """Watch a block.

        Raises:
            AttributeError: if it lacks a part to look at.
        """

    def begin(self, call: BlockCall) -> None:
        """A block begins."""
        self._call = call

    def forget(self) -> None:
        """The block is over; its tensors are freed."""
        self._call = None


class SubmoduleWatch(Watch):
    """Sees what goes through the projections and norms around a block's attention."""

    _key: Tensor | None = None
    _value: Tensor | None = None
    _before_rope: dict[str, Tensor]

    def install(self, hook: Hook, undo: ExitStack, block: Any) -> None:
        points = self._adapter.hook_points(block)
        on = functools.partial
        if self._queries:
            hook(points.image_query.register_forward_hook, on(self._on_query, block))
        hook(points.image_key.register_forward_hook, on(self._on_key, block))
        hook(points.image_value.register_forward_hook, on(self._on_value, block))
        hook(points.image_out.register_forward_pre_hook, self._on_image_out)

    def forget(self) -> None:
        super().forget()
        self._key = self._value = None
        self._before_rope = {}

    def _heads(self, block: Any, output: Tensor, part: int, call: BlockCall) -> Tensor:
        return self._adapter.image_heads(block, output[call.rows], part, call.arguments)

    def _on_query(self, block: Any, module: nn.Module, args: Any, output: Tensor) -> None:
        if self._call is not None:
            with self._looking():
                queries = self._heads(block, output, 0, self._call)
                self._before_rope["image_q"] = queries.clone()  # a block may rotate them in place

    def _on_key(self, block: Any, module: nn.Module, args: Any, output: Tensor) -> None:
        if self._call is not None:
            with self._looking():
                keys = self._heads(block, output, 1, self._call)
                if self._queries:
                    self._before_rope["image_k"] = keys.clone()
                self._key = self._adapter.rotate_image(keys, self._call.arguments)

    def _on_value(self, block: Any, module: nn.Module, args: Any, output: Tensor) -> None:
        if self._call is not None:
            with self._looking():
                self._value = self._heads(block, output, 2, self._call)

    def _on_image_out(self, module: nn.Module, args: Any) -> None:
        call, seen = self._call, None
        if call is None:
            return
        with self._looking():
            image = self._adapter.image_slice(call.arguments) if self._adapter.joined_output else slice(None)
            out = args[0][call.rows][:, image]
            if self._key is not None and self._value is not None and self._key.shape[2] == out.shape[1]:
                rotate = functools.partial(self._adapter.rotate_image, block_arguments=call.arguments)
                vectors = {**self._before_rope, "rotate_image": rotate}
                seen = ImageAttention(self._key, self._value, out, vectors=vectors)
        if self._call is not None:
            self.forget()  # in some models the concepts pass through modules that carry these hooks
            self._on_attention(call, seen)


class _Part(NamedTuple):
    """What one attention call says of the image, in all of its rows; see `ImageAttention`."""

    key: Tensor
    value: Tensor
    out: Tensor
    query: Tensor | None = None
    text_key: Tensor | None = None
    bias: Tensor | None = None


class AttentionWatch(Watch):
    """Sees a block's attention call, whichever attention backend answers it."""

    def install(self, hook: Hook, undo: ExitStack, block: Any) -> None:
        undo.enter_context(heard(places_of(block)))

    def begin(self, call: BlockCall) -> None:
        super().begin(call)
        self._parts: list[_Part] = []
        listen(self._on_call)

    def forget(self) -> None:
        super().forget()
        self._parts = []
        listen(None)

    def _on_call(self, attention: AttentionCall) -> Tensor:
        out = attention.run()
        call, seen = self._call, None
        if call is None:
            return out
        with self._looking():
            self._parts.append(self._image_part(call, attention, out))
            done = sum(len(part.key) for part in self._parts)
            if done < call.batch:  # some families attend row by row
                return out
            if done == call.batch:
                seen = self._joined(call)
        if self._call is not None:
            self.forget()
            self._on_attention(call, seen)
        return out

    def _image_part(self, call: BlockCall, attention: AttentionCall, out: Tensor) -> _Part:
        key, value, out = (attention.heads_first(part) for part in (attention.key, attention.value, out))
        where = self._adapter.image_tokens(call, key.shape[2])
        first = sum(len(part.key) for part in self._parts)
        rows = where[first : first + len(key)] if isinstance(where, list) else None
        part = _Part(*(_taken(one, where if rows is None else rows) for one in (key, value, out)))
        if not self._text:
            return part
        query, bias = attention.scaled_query, attention.bias(slice(None))
        text = [_others(one, query) for one in rows] if rows is not None else _others(where, query)
        if bias is not None:
            image = where if rows is None else rows
            bias = bias.expand(len(key), -1, -1, -1)
            bias = bias if bias.shape[2] == 1 else _taken(bias, image)
            bias = _taken(bias.transpose(2, 3), text).transpose(2, 3)
        keys = each_head(_taken(key, text), query.shape[1])
        return part._replace(query=_taken(query, where if rows is None else rows), text_key=keys, bias=bias)

    def _joined(self, call: BlockCall) -> ImageAttention:
        parts = _as_long(self._parts)
        key, value, out, query, text_key, bias = (_rows(part, call) for part in zip(*parts, strict=True))
        out = out.transpose(1, 2).flatten(2)
        text = None if query is None else (query, text_key, bias)
        return ImageAttention(key, value, out, text)


def _as_long(parts: list[_Part]) -> list[_Part]:
    """The same with prompts as long as the longest, behind whose ends nothing is attended to."""
    keys = [part.text_key for part in parts if part.text_key is not None]
    longest = max((one.shape[2] for one in keys), default=0)
    if all(one.shape[2] == longest for one in keys):
        return parts
    padded = []
    for part, one in zip(parts, keys, strict=True):
        more = (0, longest - one.shape[2])
        bias = one.new_zeros(1, 1, 1, one.shape[2]) if part.bias is None else part.bias
        padded.append(part._replace(text_key=F.pad(one, (0, 0, *more)), bias=F.pad(bias, more, value=-math.inf)))
    return padded


def _rows(parts: Sequence[Tensor | None], call: BlockCall) -> Any:
    """The observed rows of what the calls of a block say, one after the other."""
    known = [part for part in parts if part is not None]
    return (known[0] if len(known) == 1 else torch.cat(known))[call.rows] if known else None


def _taken(heads: Tensor, where: Any) -> Tensor:
    """Tokens of (B, heads, tokens, ...): the same in each row, or each row's own in a list."""
    if not isinstance(where, list):
        return heads[:, :, where]
    return torch.stack([row[:, one] for row, one in zip(heads, where, strict=True)])


def _others(where: Any, query: Tensor) -> Tensor:
    """The tokens that have a query and are none of the image's: the prompt's."""
    text = torch.ones(query.shape[2], dtype=torch.bool, device=query.device)
    text[where] = False
    return text.nonzero()[:, 0]
