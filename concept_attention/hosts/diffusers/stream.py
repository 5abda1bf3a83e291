"""The concept stream: hooks that let concept tokens pass through a transformer's joint blocks during one run.

The model's own computation is neither replaced nor repeated: the hooks read the image stream's keys, values and
attention output, run the block's text weights on the concept tokens, and are removed on exit.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from types import TracebackType
from typing import Any

from torch import Tensor, nn

from ...errors import UserError
from ..collector import pad_bias
from .registry import adapter_for

OnLayer = Callable[[int, Tensor, Tensor], None]


class StopForward(Exception):
    """Raised inside a forward pass when no later block is needed; whoever asked for it catches it."""


class ConceptStream:
    """Concept tokens in the joint blocks of one transformer, during a `with` block.

    Args:
        transformer: a joint-attention transformer of diffusers.
        embeddings: one text-encoder embedding per concept, (C, E), or (B, C, E) if they differ per image.
        on_layer: called in every joint block up to `last_layer` with (layer, image_out (B, N, D),
            concept_out (B, C, D)): both attention outputs before the projection, heads together. The tensors are
            the model's own: reduce them at once, do not keep or change them.
        last_layer: joint block after which the concepts are done.
        wanted: called at the start of each evaluation of the transformer; False leaves it unobserved.
        stop_after_last_layer: end the forward pass with `StopForward` after `last_layer`.
        pad_count: the last concept row is a pad token standing for this many identical ones.
        rows: number of observed images, the last of each evaluation; None is all. Where a pipeline evaluates its
            prompt and its negative prompt in one batch, the prompt's rows are the last.

    Raises:
        UserError: for an unsupported transformer; on entering one that carries a concept stream already.

    Source: arXiv:2502.04320, Sec. 4.1.
    """

    def __init__(
        self,
        transformer: nn.Module,
        embeddings: Tensor,
        on_layer: OnLayer,
        last_layer: int,
        *,
        wanted: Callable[[], bool] = lambda: True,
        stop_after_last_layer: bool = False,
        pad_count: int = 0,
        rows: int | None = None,
    ) -> None:
        self._transformer = transformer
        self._adapter = adapter_for(transformer)
        self._embeddings = embeddings if embeddings.ndim == 3 else embeddings[None]
        self._on_layer = on_layer
        self._last_layer = last_layer
        self._wanted = wanted
        self._stop_after_last_layer = stop_after_last_layer
        self._rows = slice(None if rows is None else -rows, None)
        self._key_bias = pad_bias(self._embeddings.shape[1], pad_count) if pad_count else None
        self._handles: list[Any] = []
        self._reset()

    def __enter__(self) -> ConceptStream:
        _refuse_double_entry(self._transformer)
        try:
            self._install()
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._remove()

    def _reset(self) -> None:
        """Forget the evaluation: its tensors are freed."""
        self._active = False
        self._vec: Any = None
        self._concept: Any = None  # tokens, (B, C, D)
        self._key: Any = None  # of the image, (B, heads, N, head_dim)
        self._value: Any = None
        self._arguments: dict[str, Any] = {}

    def _install(self) -> None:
        self._handles.append(self._transformer.register_forward_pre_hook(self._on_evaluation))
        conditioning = self._adapter.conditioning_module(self._transformer)
        if conditioning is not None:
            self._handles.append(conditioning.register_forward_pre_hook(self._on_conditioning))
        blocks = list(self._transformer.transformer_blocks)[: self._last_layer + 1]  # type: ignore[arg-type]
        for layer, block in enumerate(blocks):
            self._install_in_block(layer, block)

    def _install_in_block(self, layer: int, block: nn.Module) -> None:
        adapter, signature, points = self._adapter, inspect.signature(block.forward), self._adapter.hook_points(block)

        def on_block(module: nn.Module, args: Any, kwargs: Any) -> None:
            self._arguments = signature.bind(*args, **kwargs).arguments

        def on_key(module: nn.Module, args: Any, output: Tensor) -> None:
            if self._active:
                self._key = adapter.image_keys(block, output[self._rows], self._arguments)

        def on_value(module: nn.Module, args: Any, output: Tensor) -> None:
            if self._active:
                self._value = adapter.image_values(block, output[self._rows], self._arguments)

        def on_image_out(module: nn.Module, args: Any) -> None:
            if self._active:
                image = adapter.image_slice(self._arguments) if adapter.joined_output else slice(None)
                self._attend(layer, block, args[0][self._rows][:, image])

        self._handles.append(block.register_forward_pre_hook(on_block, with_kwargs=True))
        self._handles.append(points.image_key.register_forward_hook(on_key))
        self._handles.append(points.image_value.register_forward_hook(on_value))
        self._handles.append(points.image_out.register_forward_pre_hook(on_image_out))

    def _remove(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._reset()

    def _on_evaluation(self, module: nn.Module, args: Any) -> None:
        self._reset()
        self._active = self._wanted()

    def _on_conditioning(self, module: nn.Module, args: Any) -> None:
        if self._active:
            self._vec = self._adapter.concept_conditioning(self._transformer, args)

    def _attend(self, layer: int, block: nn.Module, image_out: Tensor) -> None:
        """One joint block of the concept stream, run where the block's image attention has just finished."""
        self._active = False  # in some models the concepts pass through modules that carry these hooks
        if layer == 0:
            embeddings = self._embeddings.to(image_out).expand(image_out.shape[0], -1, -1)
            self._concept = self._adapter.project_concepts(self._transformer, embeddings)
        bias = None if self._key_bias is None else self._key_bias.to(image_out)
        concept_out, modulation = self._adapter.attend_concepts(
            block, self._concept, self._vec, self._key, self._value, self._arguments, bias
        )
        self._key = self._value = None
        self._on_layer(layer, image_out, concept_out)
        if layer < self._last_layer:
            self._concept = self._adapter.update_concepts(block, self._concept, concept_out, modulation)
            self._active = True
            return
        self._reset()
        if self._stop_after_last_layer:
            raise StopForward


def _refuse_double_entry(transformer: nn.Module) -> None:
    hooks = transformer._forward_pre_hooks.values()
    if any(isinstance(getattr(hook, "__self__", None), ConceptStream) for hook in hooks):
        raise UserError(
            "This transformer is recording concepts already. Leave the first recording's `with` block before "
            "entering another, or record both concept lists in one run."
        )
