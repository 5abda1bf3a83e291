"""The concept stream: hooks that let concept tokens pass through a transformer's joint blocks during one run.

The model's own computation is neither replaced nor repeated: the hooks read the image stream's keys, values and
attention output, run the block's text weights on the concept tokens, and are removed on exit. Other threads may call
the transformer meanwhile: the hooks do nothing there.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from ... import attention
from ...choices import Attends
from ...errors import UserError
from ...text_attention import TextAttention
from ...vectors import JointVectors
from ..collector import Grid, pad_bias
from ..null_words import RowsApart
from .adapters import joint_adapter_for
from .eager import eager
from .named import named
from .run_hooks import Hook, Observe, RunHooks, StopForward
from .watch import AttentionWatch, BlockCall, ImageAttention

OnLayer = Callable[..., None]


class ConceptStream(RunHooks):
    """Concept tokens in the joint blocks of one transformer, during a `with` block.

    What a cache computes without the model's attention cannot be observed: the concepts of such an evaluation end at
    the block where it happened. So do those of an evaluation in which looking fails: the model's own work goes on.

    Args:
        transformer: a joint-attention transformer of diffusers; not compiled while it is observed, see `eager`.
        embeddings: one text-encoder embedding per concept, (C, E), or (B, C, E) if they differ per image.
        on_layer: called in every joint block up to `last_layer` with (layer, image_out (B, N, D),
            concept_out (B, C, D)): both attention outputs before the projection, heads together; and those of the
            rows of `apart`, if there are any. The tensors are the model's own: reduce them at once, do not keep or
            change them.
        last_layer: joint block after which the concepts are done.
        observe, on_problem: see `RunHooks`.
        stop_after_last_layer: end the forward pass with `StopForward` after `last_layer`.
        pad_count: the last concept row is a pad token standing for this many identical ones.
        apart: further rows that go through the model by themselves; the concepts are what they are without them.
        on_vectors: called before `on_layer` with (layer, vectors): all that is computed of image and concepts. Without
            it the image's queries are not looked at.
        attends: what the concepts attend to; see `choices.Attends`.
        on_text: called in the place of `on_layer` with (layer, attention, token grid): the attention between image and
            prompt, and the concepts' keys.

    Raises:
        UserError: for an unsupported transformer, and as `RunHooks`.

    Source: arXiv:2502.04320, Sec. 4.1.
    """

    def __init__(
        self,
        transformer: nn.Module,
        embeddings: Tensor,
        on_layer: OnLayer,
        last_layer: int,
        *,
        observe: Observe = lambda arguments: slice(None),
        on_problem: Callable[[str], None] = lambda reason: None,
        stop_after_last_layer: bool = False,
        pad_count: int = 0,
        apart: RowsApart | None = None,
        on_vectors: Callable[[int, JointVectors], None] | None = None,
        attends: Attends = "both",
        on_text: Callable[[int, TextAttention, Grid], None] | None = None,
    ) -> None:
        super().__init__(transformer, observe, on_problem)
        self._adapter = joint_adapter_for(transformer)
        embeddings = embeddings if embeddings.ndim == 3 else embeddings[None]
        bias = pad_bias(embeddings.shape[1], pad_count) if pad_count else None
        self._groups = [(embeddings, bias), *([] if apart is None else [(apart.embeddings[None], apart.key_bias)])]
        self._on_layer = on_layer
        self._on_vectors = on_vectors
        self._attends = attends
        self._on_text = on_text
        self._last_layer = last_layer
        self._stop_after_last_layer = stop_after_last_layer
        if on_vectors is not None and not self._adapter.shows_vectors:
            raise UserError(
                f"The vectors of {type(self._transformer).__name__} cannot be shown: its attention is seen after RoPE. "
                "Leave `on_vectors` out, or take Flux, Flux 2, Stable Diffusion 3 or CogVideoX."
            )
        kind = self._adapter.watch if on_text is None else AttentionWatch
        looks = {"queries": on_vectors is not None, "text": on_text is not None}
        self._watch = kind(self._adapter, self._looking, self._attend, **looks)
        self._reset()

    def _reset(self) -> None:
        super()._reset()
        self._conditioning: tuple[Any, ...] = ()
        self._vec: Any = None
        self._concepts: list[tuple[Tensor, Tensor | None]] | None = None  # tokens (B, C, D), key bias, of every group
        self._text: Any = None  # that the concepts have come as far as
        self._watch.forget()

    def _install(self, hook: Hook, undo: ExitStack) -> None:
        conditioning = self._adapter.conditioning_module(self._transformer)
        if conditioning is not None:
            hook(conditioning.register_forward_pre_hook, self._on_conditioning)
        blocks = self._adapter.layers(self._transformer)[: self._last_layer + 1]
        for layer, outermost in enumerate(map(eager, blocks)):
            block = self._adapter.layer_block(outermost)
            hook(block.register_forward_pre_hook, functools.partial(self._on_block, layer), with_kwargs=True)
            try:
                self._watch.install(hook, undo, block)
            except AttributeError as error:
                raise self._replaced(f"Joint block {layer}", outermost, error) from error
            hook(block.register_forward_hook, functools.partial(self._on_block_end, layer), always_call=True)

    def _on_conditioning(self, module: nn.Module, args: Any) -> None:
        if self._rows is not None:
            with self._looking():
                self._conditioning = args
                self._vec = self._adapter.concept_conditioning(self._transformer, args)

    def _on_block(self, layer: int, module: nn.Module, args: Any, kwargs: Any) -> None:
        if self._rows is None:
            return
        arguments = named(module, args, kwargs)
        text = arguments.get(self._adapter.text_argument)
        if text is None:
            self._end(f"joint block {layer} is not called with text tokens by their name")
            return
        if self._adapter.chained and self._text is not None and text is not self._text:
            self._end(f"a cache replaced what comes before joint block {layer}")
            return
        self._text = text
        batch = self._adapter.batch_size(self._evaluation)
        about = self._transformer, self._evaluation, self._conditioning
        self._watch.begin(BlockCall(*about, layer, module, arguments, self._rows, batch))

    def _on_block_end(self, layer: int, module: nn.Module, args: Any, output: Any) -> None:
        if output is None:  # it has failed
            self._reset()
        if self._text is None:
            return
        text = output if self._adapter.text_output is None else output[self._adapter.text_output]
        # A block that is skipped as a whole hands on the text as it is, and so the concepts skip it too.
        if self._watch.attending and text is not self._text:
            self._end(f"a cache skipped the attention of joint block {layer}")
            return
        self._text = text
        self._watch.forget()

    def _attend(self, call: BlockCall, image: ImageAttention | None) -> None:
        """One joint block of the concept stream, run where the block's image attention has just finished."""
        if image is None:
            self._end(f"joint block {call.layer} computes its attention in a way that cannot be observed")
            return
        concepts, attended, seen = self._concepts or [], list[Any](), None
        self._keys: list[Tensor] = []  # of the concepts, as they attend
        with self._looking():
            concepts = concepts or self._begin(call, image.out)
            attended = [self._attended(call, concept, bias, image) for concept, bias in concepts]
            seen = None if self._on_text is None else self._text_attention(call, image)
        if not attended:
            return
        if self._on_vectors is not None:
            concept_out, heads, _ = attended[0]
            values = {"image_v": image.value, "concept_q": heads.q, "concept_k": heads.k, "concept_v": heads.v}
            self._on_vectors(call.layer, JointVectors(image.out, concept_out, **image.vectors, **values))
        if self._on_text is None:
            self._on_layer(call.layer, image.out, *(concept_out for concept_out, _, _ in attended))
        elif seen is not None:
            self._on_text(call.layer, *seen)
        if call.layer < self._last_layer:
            with self._looking():
                self._concepts = [
                    (self._adapter.update_concepts(call.block, concept, concept_out, modulation), bias)
                    for (concept, bias), (concept_out, _, modulation) in zip(concepts, attended, strict=True)
                ]
            return
        self._reset()
        if self._stop_after_last_layer:
            raise StopForward

    def _attended(self, call: BlockCall, concept: Tensor, bias: Tensor | None, image: ImageAttention) -> Any:
        """What the adapter's `attend_concepts` returns where the concepts see what they may see."""
        key, value = image.key, image.value
        if self._attends == "image":
            bias = torch.full(concept.shape[1:2], -math.inf).to(concept)
        elif self._attends == "concepts":
            key, value = key[:, :, :0], value[:, :, :0]

        def attend(q: Tensor, k: Tensor, v: Tensor, rows: slice = slice(None)) -> Tensor:
            self._keys.append(k)
            if self._attends == "itself":
                return v.transpose(1, 2).flatten(2)
            return attention.attend_concepts(q, k, v, key[rows], value[rows], key_bias=bias)

        return self._adapter.attend_concepts(call.block, concept, self._vec, attend, call)

    def _text_attention(self, call: BlockCall, image: ImageAttention) -> tuple[TextAttention, Grid] | None:
        """What the block's attention says of image and prompt, and of the concepts' keys; the token grid."""
        if image.text is None:
            return None
        grid = self._adapter.target_grid(self._transformer, self._evaluation)
        made = slice(0, math.prod(grid))  # without reference images
        query, text_key, bias = image.text
        bias = bias if bias is None or bias.shape[2] == 1 else bias[:, :, made]
        keys = torch.cat(self._keys)
        counts = (1,) * keys.shape[2]
        return TextAttention(query[:, :, made], text_key, keys, counts, image.out[:, made], bias), grid

    def _begin(self, call: BlockCall, like: Tensor) -> list[tuple[Tensor, Tensor | None]]:
        """Block-0 concept tokens and key bias of every group, in the device and dtype the model computes in."""
        embeddings = [rows.to(like).expand(len(like), -1, -1) for rows, _ in self._groups]
        tokens = [self._adapter.project_concepts(self._transformer, one, call) for one in embeddings]
        return [
            (one, None if bias is None else bias.to(like)) for one, (_, bias) in zip(tokens, self._groups, strict=True)
        ]
