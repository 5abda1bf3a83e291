"""What a concept stream sees of a joint block: keys, values and attention output of the image tokens.

There are two ways to see them, and a family has one of them: hooks on the submodules around the attention, which also
show what is there before RoPE, and the attention call itself.
"""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from .attention_calls import AttentionCall, heard, listen, places_of
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
        vectors: `image_q`, `image_k` and `rotate_image` as `JointVectors` has them, where they are looked at.
    """

    key: Tensor
    value: Tensor
    out: Tensor
    vectors: Mapping[str, Any] = field(default_factory=dict)


class Watch(ABC):
    """Sees the image's part in the attention of each joint block.

    Args:
        adapter: of the transformer.
        looking: a context that ends the evaluation's concepts where looking fails.
        on_attention: called with the block's call and what was seen, or None where it could not be.
        queries: whether what is there before RoPE is looked at as well.
    """

    def __init__(
        self,
        adapter: Any,
        looking: Callable[[], AbstractContextManager[None]],
        on_attention: Callable[[BlockCall, ImageAttention | None], None],
        queries: bool,
    ) -> None:
        self._adapter = adapter
        self._looking = looking
        self._on_attention = on_attention
        self._queries = queries
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
                seen = ImageAttention(self._key, self._value, out, vectors)
        if self._call is not None:
            self.forget()  # in some models the concepts pass through modules that carry these hooks
            self._on_attention(call, seen)


class AttentionWatch(Watch):
    """Sees a block's attention call, whichever attention backend answers it."""

    def install(self, hook: Hook, undo: ExitStack, block: Any) -> None:
        undo.enter_context(heard(places_of(block)))

    def begin(self, call: BlockCall) -> None:
        super().begin(call)
        self._parts: list[tuple[Tensor, Tensor, Tensor]] = []
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
            done = sum(len(key) for key, _, _ in self._parts)
            if done < call.batch:  # some families attend row by row
                return out
            if done == call.batch:
                seen = self._joined(call)
        if self._call is not None:
            self.forget()
            self._on_attention(call, seen)
        return out

    def _image_part(self, call: BlockCall, attention: AttentionCall, out: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        key, value, out = (attention.heads_first(part) for part in (attention.key, attention.value, out))
        where = self._adapter.image_tokens(call, key.shape[2])
        first = sum(len(key) for key, _, _ in self._parts)
        if isinstance(where, list):
            rows = where[first : first + len(key)]
            key, value, out = (
                torch.stack([row[:, one] for row, one in zip(part, rows, strict=True)]) for part in (key, value, out)
            )
            return key, value, out
        return key[:, :, where], value[:, :, where], out[:, :, where]

    def _joined(self, call: BlockCall) -> ImageAttention:
        parts = zip(*self._parts, strict=True)
        key, value, out = (part[0] if len(part) == 1 else torch.cat(part) for part in parts)
        out = out[call.rows].transpose(1, 2).flatten(2)
        return ImageAttention(key[call.rows], value[call.rows], out)
