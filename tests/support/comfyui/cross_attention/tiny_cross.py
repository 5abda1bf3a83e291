"""A tiny model with cross-attention, and what its attention to the text is, read from the host's own attention calls.

Nothing in it comes from the adapter that is tested against it.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple
from unittest import mock

import comfy.nested_tensor
import comfy.supported_models
import torch
from comfy.model_patcher import ModelPatcher
from torch import Tensor

from concept_attention.hosts.encoded import ConceptText

from ..tiny import CPU, Conditioning, fill


class Attended(NamedTuple):
    """One call of the host's attention to the text.

    Attributes:
        queries, keys: by heads, (B, heads, N or T, head_dim).
        weights: of every text token, (B, heads, N, T).
        output: by heads, (B, heads, N, head_dim).
    """

    queries: Tensor
    keys: Tensor
    weights: Tensor
    output: Tensor


@dataclass(frozen=True, eq=False)
class TinyCross:
    """One model.

    Attributes:
        name: as users know the model; the support matrix shows it.
        family: module and class of its adapter.
        architecture: the name that recordings have.
        kind: class of comfy.supported_models.
        config: its tiny configuration.
        latent: shape of a latent, (1, ...), not square.
        grid: tokens (T, H, W) of the recording.
        text_width: width of the text encoder's states.
        host: module of the host whose `optimized_attention` the layers call.
        layers: how many layers there are.
        text_length: tokens that the layers attend to, for a prompt of `tokens` tokens.
        beside: what a CONDITIONING needs beside the text, from (tokens, generator).
        sound: shape of a latent that is sampled with it, packed into one.
        keys_of: which of the keys are those of a text's own tokens (begin, end) in a prompt of that many tokens.
        masked: tokens at the end of a prompt that no image token attends to.
        grids: rows and columns of tokens of every layer, where they differ.
        whole: whether only all tokens of a prompt together can be told.
        joint: whether the image's own tokens are among the keys, behind the text.
        shorten: takes parts out of the network that no configuration makes small.
    """

    name: str
    family: tuple[str, str]
    architecture: str
    kind: str
    config: Mapping[str, Any]
    latent: tuple[int, ...]
    grid: tuple[int, int, int]
    text_width: int
    host: str
    layers: int = 3
    text_length: Callable[[int], int] = lambda tokens: tokens
    beside: Callable[[int, torch.Generator], dict[str, Any]] = lambda tokens, generator: {}
    sound: tuple[int, ...] | None = None
    keys_of: Callable[[int, int, int], Sequence[int]] = lambda begin, end, tokens: range(begin, end)
    whole: bool = False
    masked: int = 0
    grids: Sequence[tuple[int, int]] = ()
    joint: bool = False
    shorten: Callable[[Any], None] = lambda network: None

    @property
    def in_host(self) -> bool:
        return hasattr(comfy.supported_models, self.kind)

    def build(self, dtype: torch.dtype = torch.float32, device: str | None = None) -> Any:
        """A new BaseModel, whose weights are what was in memory."""
        config = getattr(comfy.supported_models, self.kind)(dict(self.config))
        config.unet_config.update(self.config)
        config.set_inference_dtype(dtype, None)
        model = config.get_model({}, "", device=device)
        self.shorten(model.diffusion_model)
        return model

    def make(self, seed: int = 0, dtype: torch.dtype = torch.float32) -> ModelPatcher:
        """A new MODEL with random weights on the CPU."""
        model = self.build(dtype)
        fill(model.diffusion_model, seed)
        return ModelPatcher(model, load_device=CPU, offload_device=CPU)

    def cond(self, tokens: int = 7, seed: int = 1, **more: Any) -> Conditioning:
        """A random CONDITIONING."""
        generator = torch.Generator().manual_seed(seed)
        text = torch.randn(1, tokens, self.text_width, generator=generator)
        return [[text, {**self.beside(tokens, generator), **more}]]

    def texts(self, cond: Conditioning) -> tuple[ConceptText, ...]:
        """Concepts that repeat a prompt: every token of it, or all of it."""
        states, options = cond[0][0][0], cond[0][1]
        spans = [(0, len(states))] if self.whole else [(n, n + 1) for n in range(len(states) - self.masked)]
        return tuple(ConceptText(states, span, options) for span in spans)

    def empty(self, batch: int = 1) -> Any:
        """An empty latent."""
        images = torch.zeros(batch, *self.latent[1:])
        if self.sound is None:
            return images
        return comfy.nested_tensor.NestedTensor([images, torch.zeros(batch, *self.sound[1:])])

    @contextmanager
    def observed(self, tokens: int = 7) -> Iterator[list[Attended]]:
        """The attention calls to a prompt of so many tokens, in order, while inside."""
        calls: list[Attended] = []
        module = importlib.import_module(self.host)
        length = self.text_length(tokens)
        images = {rows * width for rows, width in self.grids} or {math.prod(self.grid)}
        text = slice(0, tokens if self.joint else None)
        with ExitStack() as undo:
            for name in ("optimized_attention", "optimized_attention_masked"):
                if hasattr(module, name):
                    spy = _spy(getattr(module, name), calls, length, images, text)
                    undo.enter_context(mock.patch.object(module, name, spy))
            yield calls


def _spy(
    attention: Callable[..., Any], calls: list[Attended], length: int, images: set[int], text: slice
) -> Callable[..., Any]:
    def spied(q: Tensor, k: Tensor, v: Tensor, heads: int, mask: Any = None, **options: Any) -> Any:
        output = attention(q, k, v, heads, mask=mask, **options)
        split = options.get("skip_reshape", False)
        queries, keys, values = (
            part.clone() if split else part.reshape(*part.shape[:2], heads, -1).transpose(1, 2) for part in (q, k, v)
        )
        if keys.shape[2] == length and queries.shape[2] in images:
            logits = queries @ keys.transpose(-1, -2) / math.sqrt(queries.shape[-1])
            logits = logits if mask is None else logits + mask
            weights = torch.softmax(logits[..., text], dim=-1)
            calls.append(Attended(queries, keys[:, :, text], weights, torch.softmax(logits, dim=-1) @ values))
        return output

    return spied
