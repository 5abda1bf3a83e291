"""Concept tokens in one forward pass: temporary hooks on the joint blocks of a network.

Nothing of the model's own computation is replaced or repeated. The first attention call of a joint block (Flux's
double-stream block, SD3's MM-DiT block) is the joint one. An `optimized_attention_override` for this call only reads
the image's keys, values and attention output, and runs the block's text weights on the concept tokens. Blocks that
another pack has replaced may not hand ComfyUI's options on to their attention; PyTorch's own is observed there. Where
a node gives a block another attention, which makes no keys that could be read, the block's own are made beside it.

Whatever goes wrong in observing ends the recording of this pass, never the pass itself. Other threads may call the
network meanwhile: the hooks do nothing there.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn

from ....errors import UserError
from ....text_attention import TextAttention
from ...joint_text import Rows, joint_text_attention
from ...null_words import RowsApart
from ...own_run import entered, is_own, own_run
from ..adapters.adapter import Adapter
from ..adapters.block_call import OPTIONS, BlockCall, ModuleCall, named_arguments, with_argument
from ..guard import guarded
from .attention_parts import cached_references, image_tokens, split_heads, target_tokens
from .attention_watch import AttentionWatch, FirstAttention, GivenWatch, ModuleWatch, pack_of

OnLayer = Callable[..., None]
OnJointText = Callable[[int, TextAttention], None]

_OVERRIDE = "optimized_attention_override"


class StopForward(Exception):
    """Ends a forward pass when no later block is needed; the caller that asked for it catches it."""


class ConceptStream:
    """Concept tokens that run through a network's joint blocks, for the time of a `with` block.

    Args:
        adapter: of the network's family.
        network: the diffusion model, not compiled.
        embeddings: one text-encoder embedding per concept, (C, E).
        rows: of the batch, that are recorded.
        tokens: number of target image tokens; tokens of reference images are attended to, not delivered.
        on_layer: called in every joint block up to `last_layer` that the model runs, with (layer,
            image_out (B, N, D), concept_out (B, C, D)) and, if given, those of `apart`: attention outputs before the
            projection, heads together. They are the model's own: reduce them at once, do not hold or change them.
        last_layer: last joint block the concepts run through; later ones get no hook.
        key_bias: logit bias of the concepts as keys, (C,).
        apart: further rows that go through the model by themselves; the concepts are what they are without them.
        positions: text tokens whose position embedding the concepts take; see `BlockCall`.
        stop_after_last_layer: end the forward pass with `StopForward` after `last_layer`.
        on_text: called instead of `on_layer`, with what the block's attention says of image and text, and its output.

    Attributes:
        problem: why this pass could not be recorded, or "".

    Raises:
        UserError: on entering a network that already has a concept stream in this thread.

    Source: arXiv:2502.04320, Sec. 4.1.
    """

    def __init__(
        self,
        adapter: Adapter,
        network: nn.Module,
        embeddings: Tensor,
        rows: Rows,
        tokens: int,
        on_layer: OnLayer,
        last_layer: int,
        *,
        key_bias: Tensor | None = None,
        apart: RowsApart | None = None,
        positions: slice = slice(0, 1),
        stop_after_last_layer: bool = False,
        on_text: OnJointText | None = None,
    ) -> None:
        self._on_text = on_text
        self._adapter = adapter
        self._network = network
        self._groups = [(embeddings, key_bias), *([] if apart is None else [apart])]
        self._rows = rows
        self._tokens = tokens
        self._on_layer = on_layer
        self._last_layer = last_layer
        self._positions = positions
        self._stop_after_last_layer = stop_after_last_layer
        self._undo = ExitStack()
        self._calls: dict[str, ModuleCall] = {}
        self._before: dict[str, ModuleCall] = {}
        self._concepts: list[tuple[Tensor, Tensor | None]] | None = None  # tokens and key bias of every group
        self._prepared: Any = None
        self._next_layer = 0
        self._observing: int | None = None  # the block that runs and whose attention is awaited
        self._watch: AttentionWatch | ModuleWatch | None = None  # while a block runs that takes no options
        self.problem = ""

    def __enter__(self) -> ConceptStream:
        refuse_double_entry(self._network)
        with ExitStack() as undo:
            undo.callback(self._forget)
            for name, module in self._adapter.conditioning_modules(self._network).items():
                hook = functools.partial(self._on_conditioning, name)
                undo.callback(module.register_forward_hook(hook).remove)
            for layer, block in enumerate(list(self._adapter.joint_blocks(self._network))[: self._last_layer + 1]):
                pre_hook = functools.partial(self._on_block, layer)
                undo.callback(block.register_forward_pre_hook(pre_hook, with_kwargs=True).remove)
                after = functools.partial(self._after_block, layer)
                undo.callback(block.register_forward_hook(after, always_call=True).remove)
            undo.enter_context(own_run(self))
            self._undo = undo.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._undo.close()

    def _forget(self) -> None:
        self._stop_watching()
        self._calls.clear()
        self._before.clear()
        self._concepts = self._prepared = None

    def _on_conditioning(self, name: str, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        if is_own(self):
            self._calls[name] = ModuleCall(args, output)

    def _on_block(
        self, layer: int, block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any] | None = None
    ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        """A joint block is about to run: observe its first attention call. Of several passes the first counts.

        Another thread may get no `kwargs`: torch may have looked up the hook before it was removed.
        """
        if kwargs is None or not is_own(self):
            return None
        if self._concepts is None:
            self._before = dict(self._calls)  # the model's own; adapters call the same modules
        if self.problem or layer < self._next_layer:
            return None
        with guarded(self._fail):
            call = BlockCall(
                named_arguments(block, args, kwargs), self._rows, self._tokens, self._positions, self._before
            )
            observer = FirstAttention(functools.partial(self._step, layer, block, call))
            self._observing = layer
            own = functools.partial(is_own, self)
            given = self._adapter.given_attention(block, call)
            if given is not None:
                watch = GivenWatch(given, observer.observe, own, self._fail)
                return with_argument(block, args, kwargs, given.argument, watch)
            modules = self._adapter.attention_modules(block)
            if modules is not None:
                finish = functools.partial(self._adapter.finish_attention, block, call)
                queries = self._on_text is not None
                self._watch = ModuleWatch(modules, finish, queries, observer.on_attention, own, self._fail)
                self._watch.__enter__()
                return None
            # A block that is not handed the options may not take them, either.
            handed = OPTIONS in call.arguments
            if not handed or pack_of(block):
                self._watch = AttentionWatch(observer.on_attention)
                self._watch.__enter__()
            if handed:
                options: Mapping[str, Any] = call.arguments[OPTIONS] or {}
                override = functools.partial(observer.attend, options.get(_OVERRIDE))
                return with_argument(block, args, kwargs, OPTIONS, {**options, _OVERRIDE: override})
        return None

    def _after_block(self, layer: int, block: nn.Module, *_: Any) -> None:
        """A joint block has run, or failed. Without its attention, later ones would get concepts that lack it."""
        if self._observing != layer or not is_own(self):
            return
        self._observing = None
        self._stop_watching()
        if self._next_layer <= layer and not self.problem:
            where = pack_of(block) or "another pack or node"
            self._fail(f"joint block {layer} runs code of {where}, whose attention cannot be observed")

    def _stop_watching(self) -> None:
        watch, self._watch = self._watch, None
        if watch is not None:
            watch.__exit__(None, None, None)

    def _fail(self, reason: str) -> None:
        self.problem = self.problem or reason

    def _step(
        self,
        layer: int,
        block: nn.Module,
        call: BlockCall,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        output: Tensor,
    ) -> None:
        """One joint block of the concept stream, run right after the block's own attention."""
        if self.problem:
            return
        stop = False
        with guarded(self._fail), torch.no_grad():
            stop = self._advance(layer, block, call, args, kwargs, output)
        if stop:
            raise StopForward

    def _advance(
        self,
        layer: int,
        block: nn.Module,
        call: BlockCall,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        output: Tensor,
    ) -> bool:
        """See `_step`; returns whether the forward pass can end."""
        heads = args[3] if len(args) > 3 else kwargs["heads"]
        split = kwargs.get("skip_reshape", False)
        query, key, value = (split_heads(tensor, heads, split) for tensor in args[:3])
        tokens = query.shape[2]
        slices = self._adapter.token_slices(call, tokens)
        image, target = slices.image, slices.target or slices.image
        if not 0 <= image.start <= target.start <= target.stop <= image.stop:
            found = image.stop - max(0, image.start)
            self._fail(f"joint block {layer} attends to {found} image tokens, the target image has {self._tokens}")
            return False
        cached = slice(tokens, tokens + cached_references(call, key.shape[2] - tokens))
        image_k, image_v = (image_tokens(tensor[self._rows], image, cached) for tensor in (key, value))
        concepts = self._begin(call, image_v) if self._concepts is None else self._concepts
        call = call._replace(prepared=self._prepared)
        attend, update = self._adapter.attend_concepts, self._adapter.update_concepts
        attended = [attend(block, tokens, image_k, image_v, call, bias) for tokens, bias in concepts]
        image_out = target_tokens(output, self._rows, target, kwargs.get("skip_output_reshape", False))
        if self._on_text is None:
            self._on_layer(layer, image_out, *(concept_out for concept_out, _ in attended))
        else:
            concept_k = self._adapter.concept_qkv(block, concepts[0][0], call)[1]
            mask = args[4] if len(args) > 4 else kwargs.get("mask")
            attention = joint_text_attention(query, key, mask, slices, self._rows, concept_k)
            self._on_text(layer, attention._replace(image_out=image_out))
        self._next_layer = layer + 1
        if layer < self._last_layer:
            pairs = zip(concepts, attended, strict=True)
            self._concepts = [(update(block, tokens, *out), bias) for (tokens, bias), out in pairs]
        return self._stop_after_last_layer and layer == self._last_layer

    def _begin(self, call: BlockCall, like: Tensor) -> list[tuple[Tensor, Tensor | None]]:
        """Block-0 concept tokens and key bias of every group, in the device and dtype the model computes in."""
        self._prepared = self._adapter.prepare(self._network, call)
        concepts = []
        for embeddings, bias in self._groups:
            concept = self._adapter.project_concepts(self._network, embeddings.to(like)[None], call)
            concepts.append((concept.expand(like.shape[0], -1, -1), None if bias is None else bias.to(like)))
        self._calls.clear()
        return concepts


def refuse_double_entry(network: nn.Module) -> None:
    """Refuse to observe a network twice in the same forward pass.

    Raises:
        UserError: see above.
    """
    if any(getattr(run, "_network", None) is network for run in entered()):
        raise UserError(
            "This model is recording concepts already, in the same forward pass. Record both concept lists in one run."
        )
