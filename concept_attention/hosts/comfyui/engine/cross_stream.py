"""The cross-attention of a network in one forward pass: temporary hooks that observe its queries and keys.

Nothing of the model's own computation is replaced. The modules that make a layer's queries and keys are
observed, and the layer's own text projection makes keys of the concepts; the attention between them is the host's, or
another pack's that has replaced it. Whatever goes wrong in observing ends the recording of this pass, never the pass.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn

from ....text_attention import TextAttention
from ...encoded import ConceptText
from ...joint_text import Rows
from ...own_run import is_own, own_run
from ..adapters.block_call import BlockCall, ModuleCall, named_arguments
from ..adapters.cross_attention.adapter import CrossAdapter, CrossModules, Grid
from ..guard import guarded
from .stream import StopForward, refuse_double_entry

# Called in every layer with its number, what was observed of the recorded rows, and its token grid.
OnText = Callable[[int, TextAttention, Grid], None]


class CrossStream:
    """Observes the cross-attention layers of a network, for the time of a `with` block.

    Args:
        adapter: of the network's family.
        network: the diffusion model, not compiled.
        texts: of the concepts.
        rows: of the batch, that are recorded.
        grid: tokens (T, H, W) of the recording.
        on_text: called in every observed layer that the model runs. The tensors are the model's own: reduce them at
            once, do not hold or change them.
        layers: to observe, ascending.
        with_output: whether `on_text` needs the attention's output.
        stop_after_last_layer: end the forward pass with `StopForward` after the last of them.
        prepared: keeps the concepts' tokens from one forward pass of a run to the next.

    Attributes:
        problem: why this pass could not be recorded, or "".

    Raises:
        UserError: on entering a network that is being observed already in this thread.
    """

    def __init__(
        self,
        adapter: CrossAdapter,
        network: nn.Module,
        texts: Sequence[ConceptText],
        rows: Rows,
        grid: Grid,
        on_text: OnText,
        layers: Sequence[int],
        *,
        with_output: bool = False,
        stop_after_last_layer: bool = False,
        prepared: dict[Any, Sequence[Tensor]] | None = None,
    ) -> None:
        self._adapter = adapter
        self._network = network
        self._texts = texts
        self._rows = rows
        self._grid = grid
        self._on_text = on_text
        self._last_layer = layers[-1]
        self._waiting = set(layers)  # to be observed in this pass
        self._with_output = with_output
        self._stop_after_last_layer = stop_after_last_layer
        self._prepared = {} if prepared is None else prepared
        self._undo = ExitStack()
        self._inputs: Mapping[str, Any] = {}
        self._calls: dict[str, ModuleCall] = {}
        self._call: BlockCall | None = None
        self._tokens: Sequence[Tensor] | None = None
        self._queries: Tensor | None = None
        self._observed: tuple[TextAttention, slice, Grid] | None = None
        self._busy = False  # with the concepts: the modules that run are not the model's own then
        self.problem = ""

    def __enter__(self) -> CrossStream:
        refuse_double_entry(self._network)
        with ExitStack() as undo:
            undo.callback(self._forget)
            undo.callback(self._network.register_forward_pre_hook(self._on_network, with_kwargs=True).remove)
            for name, module in self._adapter.conditioning_modules(self._network).items():
                hook = functools.partial(self._on_conditioning, name)
                undo.callback(module.register_forward_hook(hook).remove)
            blocks = self._adapter.layers(self._network)
            for layer in sorted(self._waiting):
                self._observe(layer, blocks[layer], self._adapter.cross_modules(blocks[layer]), undo)
            undo.enter_context(own_run(self))
            self._undo = undo.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._undo.close()

    def _observe(self, layer: int, block: nn.Module, modules: CrossModules, undo: ExitStack) -> None:
        on_block = functools.partial(self._on_block, layer)
        called = self._adapter.called_module(block)
        undo.callback(called.register_forward_pre_hook(on_block, with_kwargs=True).remove)
        undo.callback(modules.queries.register_forward_hook(functools.partial(self._on_queries, layer)).remove)
        on_keys = functools.partial(self._on_keys, layer, block, modules)
        undo.callback(modules.keys.register_forward_hook(on_keys).remove)
        if self._with_output:
            on_output = functools.partial(self._on_output, layer)
            undo.callback(modules.output.register_forward_pre_hook(on_output).remove)

    def _forget(self) -> None:
        self._inputs = {}
        self._calls.clear()
        self._call = self._tokens = self._queries = self._observed = None

    def _waits_for(self, layer: int) -> bool:
        """Whether a call is the model's own, of a layer that has not been observed in this pass yet."""
        return is_own(self) and not self._busy and not self.problem and layer in self._waiting

    def _on_network(self, network: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any] | None = None) -> None:
        if kwargs is not None and is_own(self):
            with guarded(self._fail):
                self._inputs = named_arguments(network, args, kwargs)

    def _on_conditioning(self, name: str, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        if is_own(self) and not self._busy and self._tokens is None:
            self._calls[name] = ModuleCall(args, output)

    def _on_block(
        self, layer: int, block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any] | None = None
    ) -> None:
        if kwargs is None or not self._waits_for(layer):
            return
        with guarded(self._fail):
            arguments = named_arguments(block, args, kwargs)
            self._queries = self._observed = None
            call = BlockCall(arguments, self._rows, calls=self._calls, inputs=self._inputs)
            self._call = call if self._adapter.observes(self._network, call) else None

    def _on_queries(self, layer: int, module: nn.Module, args: tuple[Any, ...], output: Tensor) -> None:
        if self._waits_for(layer):
            self._queries = output

    def _on_keys(
        self, layer: int, block: nn.Module, modules: CrossModules, module: nn.Module, args: Any, output: Tensor
    ) -> None:
        """The keys of a layer are there; of several texts the first counts."""
        if not self._waits_for(layer) or self._queries is None or self._call is None or self._observed is not None:
            return
        with guarded(self._fail), torch.no_grad():
            self._busy = True
            try:
                self._observed = self._attention(block, modules, self._call, self._queries, output)
            finally:
                self._busy = False
            if not self._with_output:
                self._deliver(layer, *self._observed)
        self._stop(layer)

    def _on_output(self, layer: int, module: nn.Module, args: tuple[Any, ...]) -> None:
        """The attention of a layer has its output, the input of the projection."""
        if not self._waits_for(layer) or self._observed is None:
            return
        with guarded(self._fail), torch.no_grad():
            attention, image, grid = self._observed
            output = self._adapter.batch_first(args[0])[self._rows][:, image]
            self._deliver(layer, attention._replace(image_out=output), image, grid)
        self._stop(layer)

    def _deliver(self, layer: int, attention: TextAttention, _: slice, grid: Grid) -> None:
        self._on_text(layer, attention, grid)
        self._waiting = {later for later in self._waiting if later > layer}
        self._call = self._queries = self._observed = None

    def _stop(self, layer: int) -> None:
        done = layer not in self._waiting
        if done and self._stop_after_last_layer and layer == self._last_layer:
            raise StopForward

    def _attention(
        self, block: nn.Module, modules: CrossModules, call: BlockCall, queries: Tensor, keys: Tensor
    ) -> tuple[TextAttention, slice, Grid]:
        """What a layer attends with, in the recorded rows; where its image tokens are, and their grid."""
        adapter, rows = self._adapter, self._rows
        if self._tokens is None:
            self._tokens = adapter.refine_tokens(self._network, self._own_tokens(keys), self._texts, call)
        image_q = adapter.split_heads(adapter.finish_queries(block, queries, call), modules.heads)
        text_k = adapter.split_heads(adapter.prompt_keys(block, keys, len(image_q), call), modules.heads)
        image, grid = adapter.image_tokens(self._network, call, image_q.shape[2], self._grid)
        own = adapter.concept_keys(block, torch.cat(list(self._tokens), dim=1), call)
        counts = tuple(part.shape[1] for part in self._tokens)
        bias = adapter.text_bias(call)
        attention = TextAttention(
            image_q[rows][:, :, image],
            text_k[rows],
            adapter.split_heads(own, modules.heads),
            counts,
            None,
            bias if bias is None or len(bias) == 1 else bias[rows],
        )
        return attention, image, grid

    def _own_tokens(self, like: Tensor) -> Sequence[Tensor]:
        """The concepts' tokens as the network gets a prompt's, made once per run, device and dtype."""
        place = (like.device, like.dtype)
        if place not in self._prepared:
            self._prepared[place] = [
                self._adapter.concept_tokens(self._network, text.to(like))[None] for text in self._texts
            ]
        return self._prepared[place]

    def _fail(self, reason: str) -> None:
        self.problem = self.problem or reason
