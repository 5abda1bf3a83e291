"""A tiny model of one architecture, and what its joint blocks take and return.

It knows the host's blocks by their parameters only. Nothing in it comes from the adapter that is tested against it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import comfy.nested_tensor
import comfy.supported_models
import torch
from comfy.model_patcher import ModelPatcher
from torch import Tensor

from concept_attention.hosts.comfyui.adapters.adapter import Adapter
from concept_attention.hosts.comfyui.adapters.block_call import ModuleCall

from ..tiny import CPU, Conditioning, fill

Arguments = dict[str, Any]  # of a joint block, by the names of its parameters


@dataclass(frozen=True, eq=False)
class TinyArchitecture:
    """One architecture.

    Attributes:
        name: as users know the model; several variants are separated by commas. The support matrix shows it.
        adapter: the adapter it needs.
        architecture: the name that recordings have.
        kind: class of comfy.supported_models.
        config: its tiny configuration, three joint blocks where that can be chosen.
        latent: shape of a latent, (batch, ...), not square; the batch is replaced.
        grid: tokens (T, H, W) of it.
        text_width: width of the text encoder's states.
        extra: what a CONDITIONING needs beside the text: name to a function of (tokens, generator).
        project: block-0 concept tokens (B, C, D), made by the network's own modules from (network,
            embeddings (B, C, E), calls of the network's own children by name).
        swap: a block's arguments with concepts instead of the prompt, from (arguments, concepts (B, C, D)); the
            arguments are a copy.
        text_in: the prompt's tokens (B, L, D) among a block's arguments.
        text_out: the prompt's tokens among what a block returned; None if the block no longer needs them.
        image_first: whether the image tokens come before the prompt's.
        target_last: whether tokens of reference images come before the generated image's.
        padded: number of tokens to which the architecture pads the concepts, with zero embeddings; 0 is none.
        around: entered while a block runs on the concepts, with (block, network, calls).
        sound: shape of a latent of one video's sound, which is sampled with it; such models take no batches.
        as_prompt: an adapter that treats concepts exactly as the prompt's tokens, where `adapter` differs on purpose.
    """

    name: str
    adapter: Adapter
    architecture: str
    kind: str
    config: Mapping[str, Any]
    latent: tuple[int, ...]
    grid: tuple[int, int, int]
    text_width: int
    project: Callable[[Any, Tensor, Mapping[str, ModuleCall]], Tensor]
    swap: Callable[[Arguments, Tensor], Arguments]
    text_in: Callable[[Arguments], Tensor]
    text_out: Callable[[Any], Tensor | None]
    image_first: bool = False
    target_last: bool = False
    padded: int = 0
    extra: Mapping[str, Callable[[int, torch.Generator], Any]] = field(default_factory=dict)
    around: Callable[[Any, Any, Mapping[str, ModuleCall]], AbstractContextManager[Any]] = lambda *_: nullcontext()
    sound: tuple[int, ...] | None = None
    as_prompt: Adapter | None = None

    @property
    def in_host(self) -> bool:
        """Whether the ComfyUI at hand has this architecture; the oldest supported one lacks some."""
        return hasattr(comfy.supported_models, self.kind)

    def build(self, dtype: torch.dtype = torch.float32, device: str | None = None) -> Any:
        """A new BaseModel, whose weights are what was in memory."""
        config = getattr(comfy.supported_models, self.kind)(dict(self.config))
        config.unet_config.update(self.config)  # some classes put sizes of their own into it
        config.set_inference_dtype(dtype, None)
        return config.get_model({}, "", device=device)

    def make(self, seed: int = 0, dtype: torch.dtype = torch.float32) -> ModelPatcher:
        """A new MODEL with random weights on the CPU."""
        model = self.build(dtype)
        fill(model.diffusion_model, seed)
        return ModelPatcher(model, load_device=CPU, offload_device=CPU)

    def cond(self, tokens: int = 7, seed: int = 1, **more: Any) -> Conditioning:
        """A random CONDITIONING; `more` goes into its dict (reference_latents, ...)."""
        generator = torch.Generator().manual_seed(seed)
        text = torch.randn(1, tokens, self.text_width, generator=generator)
        return [[text, {**{name: make(tokens, generator) for name, make in self.extra.items()}, **more}]]

    def empty(self, batch: int = 1) -> Any:
        """An empty latent."""
        if self.sound is not None:
            return comfy.nested_tensor.NestedTensor([torch.zeros(self.latent), torch.zeros(self.sound)])
        return torch.zeros(batch, *self.latent[1:])


def at_position(pe: Tensor, axis: int, text: int, count: int, position: int = 0) -> Tensor:
    """Position embeddings for `count` concepts at the position of one of `text` text tokens, then for the image.

    Args:
        pe: of text and image tokens, text first, along `axis`.
    """
    one = pe.narrow(axis, position, 1)
    return torch.cat([one] * count + [pe.narrow(axis, text, pe.shape[axis] - text)], dim=axis)
