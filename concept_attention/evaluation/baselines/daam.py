"""DAAM: the cross-attention maps of the prompt's words in the U-Net of Stable Diffusion."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from PIL import Image
from torch import Tensor

from ...errors import UserError
from ..question import Question

STEPS, STEP = 50, 49  # of the sampler, and the one at which the picture is looked at: almost without noise
SIDE = 512  # pixels
MAP = 64  # side that the maps of all layers are brought to


class Daam:
    """The baseline.

    Args:
        pipeline: a `StableDiffusionPipeline` or `StableDiffusionXLPipeline` of diffusers.

    Source: Tang et al., What the DAAM, arXiv:2210.04885, Sec. 3. The paper's baseline is SDXL at 512 pixels in float32,
    one evaluation at the last of 50 steps, with all words in one prompt.
    """

    def __init__(self, pipeline: Any) -> None:
        self._pipeline = pipeline

    @classmethod
    def load(cls, name: str, device: str) -> Daam:
        """From a folder of weights, or from the hub's cache; nothing is downloaded."""
        try:
            pipeline = import_module("diffusers").DiffusionPipeline.from_pretrained(name, local_files_only=True)
        except OSError as error:
            raise UserError(f"No weights of {name} here. Get them with `hf download {name}`.") from error
        return cls(pipeline.to(device))

    @torch.no_grad()
    def __call__(self, question: Question) -> Tensor:
        """The mean attention to each concept's tokens over heads and layers, (C, 64, 64), 0-1."""
        pipeline = self._pipeline
        prompt, spans = prompt_of(pipeline.tokenizer, [concept.text for concept in question.concepts])
        device = pipeline.unet.device
        encoded = pipeline.encode_prompt(
            prompt=prompt, device=device, num_images_per_prompt=1, do_classifier_free_guidance=False
        )
        conditions = {"encoder_hidden_states": encoded[0]}
        if getattr(pipeline, "text_encoder_2", None) is not None:  # SDXL: pooled text; original size, crop and size
            sizes = torch.tensor([[SIDE, SIDE, 0, 0, SIDE, SIDE]], device=device, dtype=encoded[0].dtype)
            conditions["added_cond_kwargs"] = {"text_embeds": encoded[2], "time_ids": sizes}
        pipeline.scheduler.set_timesteps(STEPS, device=device)
        time = pipeline.scheduler.timesteps[STEP]
        with _watched(pipeline.unet, spans) as maps:
            pipeline.unet(self._noised(question.image, time), time, **conditions)
        return torch.stack(maps).mean(dim=0).cpu()

    def _noised(self, image: Image.Image, time: Tensor) -> Tensor:
        pipeline = self._pipeline
        pixels = np.asarray(image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BICUBIC), dtype=np.float32)
        batch = torch.from_numpy(pixels / 127.5 - 1).permute(2, 0, 1)[None].to(pipeline.vae.device, pipeline.vae.dtype)
        latent = pipeline.vae.encode(batch).latent_dist.mode() * pipeline.vae.config.scaling_factor
        noise = torch.randn(latent.shape, generator=torch.Generator().manual_seed(0)).to(latent)
        noised = pipeline.scheduler.add_noise(latent, noise, time[None])
        return pipeline.scheduler.scale_model_input(noised, time)


def prompt_of(tokenizer: Any, words: Sequence[str]) -> tuple[str, list[slice]]:
    """A prompt of all words, "a dog,a sky,...", and the places of each word's tokens in it.

    Raises:
        UserError: if the words are too many for one prompt.
    """
    place, spans = 1, []  # after the token that begins the text
    for index, word in enumerate(words):
        before = len(_tokens(tokenizer, ",a" if index else "a"))
        length = len(_tokens(tokenizer, word))
        spans.append(slice(place + before, place + before + length))
        place += before + length
    if place >= tokenizer.model_max_length:
        raise UserError(
            f"{len(words)} concepts do not fit into one prompt of {tokenizer.model_max_length} tokens. "
            "Use --classes present."
        )
    return ",".join(f"a {word}" for word in words), spans


def _tokens(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


@contextmanager
def _watched(unet: Any, spans: Sequence[slice]) -> Iterator[list[Tensor]]:
    """Collects the maps (C, 64, 64) of every cross-attention of one call; the hooks change nothing and go again."""
    maps: list[Tensor] = []
    hooks = []
    for name, attention in unet.named_modules():
        if name.endswith("attn2"):
            hooks += _hooks(attention, spans, maps)
    try:
        yield maps
    finally:
        for hook in hooks:
            hook.remove()


def _hooks(attention: Any, spans: Sequence[slice], maps: list[Tensor]) -> list[Any]:
    queries: list[Tensor] = []

    def on_key(_: Any, __: Any, key: Tensor) -> None:
        found = attention_maps(queries.pop(), key, attention.heads, attention.scale, spans)
        maps.append(F.interpolate(found[None], size=(MAP, MAP), mode="bicubic").clamp(0, 1)[0])

    return [
        attention.to_q.register_forward_hook(lambda _, __, query: queries.append(query)),
        attention.to_k.register_forward_hook(on_key),
    ]


def attention_maps(query: Tensor, key: Tensor, heads: int, scale: float, spans: Sequence[slice]) -> Tensor:
    """Mean over heads and a word's tokens of the attention, (C, h, h) of a square picture.

    Args:
        query: (1, N, heads * head_dim), N = h * h.
        key: (1, T, heads * head_dim).
        heads, scale: of the attention.
        spans: the tokens of each word.
    """
    q, k = (rearrange(one.float(), "1 n (heads d) -> heads n d", heads=heads) for one in (query, key))
    weights = (scale * q @ k.transpose(1, 2)).softmax(dim=-1).mean(dim=0)
    side = round(len(weights) ** 0.5)
    return torch.stack([weights[:, span].mean(dim=1).reshape(side, side) for span in spans])
