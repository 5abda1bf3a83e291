"""The attention to the text of a transformer during one run: hooks that read queries, keys and outputs there.

Nothing of the model's own computation is replaced or repeated. A layer's attention call is heard, whichever attention
backend answers it, and the layer's own modules make keys of the concepts. Whatever goes wrong in looking ends the
recording of this evaluation, never the evaluation.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from ...text_attention import TextAttention
from ..encoded import ConceptText
from ..reasons import NotRecordable
from .adapters import cross_adapter_for
from .attention_calls import AttentionCall, heard, listen, places_of
from .eager import eager
from .named import Arguments, named
from .run_hooks import Hook, Observe, RunHooks, StopForward
from .transformers.cross_attention.adapter import Grid
from .watch import BlockCall

OnText = Callable[[int, TextAttention, Grid, Grid], None]


class CrossStream(RunHooks):
    """Reads the attention to the text in the layers of one transformer, during a `with` block.

    Args:
        transformer: of diffusers, with a `CrossAdapter`.
        texts: of the concepts.
        on_text: called in every layer that is read with (layer, attention, token grid of the layer, token grid of the
            recording). The tensors are the model's own: reduce them at once, do not keep or change them.
        layers: to read, ascending.
        observe, on_problem: see `RunHooks`.
        stop_after_last_layer: end the forward pass with `StopForward` after the last of them.

    Raises:
        UserError: for an unsupported transformer, and as `RunHooks`.
    """

    def __init__(
        self,
        transformer: nn.Module,
        texts: Sequence[ConceptText],
        on_text: OnText,
        layers: Sequence[int],
        *,
        observe: Observe = lambda arguments: slice(None),
        on_problem: Callable[[str], None] = lambda reason: None,
        stop_after_last_layer: bool = False,
    ) -> None:
        super().__init__(transformer, observe, on_problem)
        self._adapter = cross_adapter_for(transformer)
        self._texts = texts
        self._on_text = on_text
        self._layers = layers
        self._stop_after_last_layer = stop_after_last_layer
        self._steady = self._adapter.steady(self._transformer)
        self._kept: dict[int, list[Tensor]] = {}  # keys of the concepts that are the same in every step
        self._busy = False  # with the concepts: the modules that run are not the model's own then
        self._reset()

    def _reset(self) -> None:
        super()._reset()
        self._call: BlockCall | None = None
        self._given: Arguments = {}  # to the layer's attention module
        self._tokens: Any = None  # of the concepts, as far as they have come
        self._keys: dict[int, list[Tensor]] = {}  # of the concepts, by layer
        self._waiting = list(self._layers)  # to be read in this evaluation
        self._grid: Grid = (1, 1, 1)
        self._places: Any = None
        listen(None)

    def _install(self, hook: Hook, undo: ExitStack) -> None:
        blocks = self._adapter.layers(self._transformer)
        for layer in range(self._layers[-1] + 1) if self._adapter.chained else self._layers:
            outermost = eager(blocks[layer])
            block = self._adapter.layer_block(outermost)
            hook(block.register_forward_pre_hook, functools.partial(self._on_block, layer), with_kwargs=True)
            try:
                module = self._adapter.attention(block)
                undo.enter_context(heard(places_of(block)))
            except AttributeError as error:
                raise self._replaced(f"Layer {layer}", outermost, error) from error
            hook(module.register_forward_pre_hook, functools.partial(self._on_attention, layer), with_kwargs=True)
            hook(module.register_forward_hook, functools.partial(self._on_attention_end, layer), always_call=True)

    def _on_evaluation(self, module: nn.Module, args: Any, kwargs: Any) -> None:
        super()._on_evaluation(module, args, kwargs)
        if self._rows is not None:
            with self._looking():
                self._grid = self._adapter.target_grid(self._transformer, self._evaluation)
                self._places = self._adapter.places(self._transformer, self._evaluation)

    def _on_block(self, layer: int, module: nn.Module, args: Any, kwargs: Any) -> None:
        if self._rows is None or self._busy:
            return
        with self._looking():
            batch = self._adapter.batch_size(self._evaluation)
            arguments = named(module, args, kwargs)
            about = self._transformer, self._evaluation, (), layer, module, arguments
            self._call = BlockCall(*about, self._rows, batch, self._places)

    def _on_attention(self, layer: int, module: nn.Module, args: Any, kwargs: Any) -> None:
        if self._call is None or self._call.layer != layer or self._busy:
            return
        self._given = named(module, args, kwargs)
        listen(self._on_call)

    def _on_attention_end(self, layer: int, module: nn.Module, args: Any, output: Any) -> None:
        if self._call is None or self._call.layer != layer or self._busy:
            return
        listen(None)
        if output is None:  # it has failed
            self._reset()
        elif layer in self._waiting:
            processor = type(getattr(module, "processor", module)).__name__
            self._end(
                f"layer {layer} computes its attention in a way that cannot be observed, by a cache or {processor}"
            )
        else:
            self._call, self._given = None, {}

    def _on_call(self, attention: AttentionCall) -> Tensor:
        out, call = attention.run(), self._call
        if call is None:
            return out
        seen: tuple[TextAttention, Grid] | None = None
        with self._looking(), torch.no_grad():
            seen = self._seen(call, attention, out)
        if seen is not None and call.layer in self._waiting:
            self._waiting.remove(call.layer)
            self._on_text(call.layer, *seen, self._grid)
            if not self._waiting:
                self._finish()
        return out

    def _finish(self) -> None:
        """The last layer was read."""
        if self._steady:
            self._kept = self._keys
        self._reset()
        if self._stop_after_last_layer:
            raise StopForward

    def _seen(self, call: BlockCall, attention: AttentionCall, out: Tensor) -> tuple[TextAttention, Grid] | None:
        """What an attention call says, and the token grid of its layer."""
        if self._adapter.chained and not self._kept and call.layer != len(self._keys):
            raise NotRecordable(f"a cache skipped what comes before layer {call.layer}")
        grid = self._adapter.layer_grid(self._transformer, call.layer, self._evaluation)
        read = self._adapter.read(call, self._given, attention, out, grid)
        if read is None:
            return None
        keys = self._concept_keys(call, read.image_q)
        rows = max(map(len, keys))
        counts = tuple(part.shape[2] for part in keys)
        joined = torch.cat([part.expand(rows, -1, -1, -1) for part in keys], dim=2)
        return TextAttention(read.image_q, read.text_k, joined, counts, read.image_out, read.text_bias), grid

    def _concept_keys(self, call: BlockCall, like: Tensor) -> list[Tensor]:
        if call.layer in self._kept:
            return self._kept[call.layer]
        self._busy = True
        try:
            if self._tokens is None:
                self._tokens = self._adapter.begin([text.to(like) for text in self._texts], call)
            keys, self._tokens = self._adapter.concept_keys(call, self._given, self._tokens, self._texts)
        finally:
            self._busy = False
        self._keys[call.layer] = keys
        return keys
