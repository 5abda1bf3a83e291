"""What tests have to know of every family of transformers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .tiny_transformers import (
    TEXT_WIDTH,
    Arguments,
    flux2_inputs,
    flux_inputs,
    make_cogvideox,
    make_flux,
    make_flux2,
    make_sd3,
    sd3_inputs,
    seeded_noise,
)


@dataclass(frozen=True)
class Family:
    """One kind of transformer.

    Attributes:
        name: of its adapter module.
        make: a random transformer.
        inputs: random arguments of one evaluation, for (transformer, batch, rows, columns, text tokens, seed).
        first: block-0 tokens of text embeddings (B, C, E).
        text_first: whether text tokens come before image tokens in attention.
        text_out: position of the text tokens in what a block returns.
        place: block arguments as concepts have them, for (transformer, arguments, count of concepts).
        frames: image tokens along time.
        fuses: whether diffusers can run it with fused projections.
    """

    name: str
    make: Callable[..., Any]
    inputs: Callable[..., Arguments]
    first: Callable[[Any, Tensor], Tensor]
    text_first: bool
    text_out: int
    place: Callable[[Any, Arguments, int], Arguments] = lambda transformer, arguments, count: arguments
    frames: int = 1
    fuses: bool = True


def _flux(guidance: bool) -> Family:
    def inputs(*sizes: Any, **options: Any) -> Arguments:
        """With the pooled text of concepts: image and text of a block have one modulation vector."""
        made = flux_inputs(*sizes, **options)
        return {**made, "pooled_projections": torch.zeros_like(made["pooled_projections"])}

    def put(transformer: Any, arguments: Arguments, count: int) -> Arguments:
        """At position (0, 0, 0), as the prompt is."""
        text = arguments["encoder_hidden_states"].shape[1]
        turned = [torch.cat([one[:1].expand(count, -1), one[text:]]) for one in arguments["image_rotary_emb"]]
        return {**arguments, "image_rotary_emb": tuple(turned)}

    return Family(
        name="flux",
        make=lambda: make_flux(guidance),
        inputs=inputs,
        first=lambda transformer, embeddings: transformer.context_embedder(embeddings),
        text_first=True,
        text_out=0,
        place=put,
    )


def _sd3(**config: Any) -> Family:
    return Family(
        name="sd3",
        make=lambda: make_sd3(**config),
        inputs=sd3_inputs,
        first=lambda transformer, embeddings: transformer.context_embedder(embeddings),
        text_first=False,
        text_out=0,
        fuses=config.get("dual") == (),
    )


def _flux2(guidance: bool, place: int) -> Family:
    def put(transformer: Any, arguments: Arguments, count: int) -> Arguments:
        text = arguments["encoder_hidden_states"].shape[1]
        places = transformer.pos_embed(torch.tensor([[0, 0, 0, place]] * count))
        turned = [torch.cat([own, one[text:]]) for own, one in zip(places, arguments["image_rotary_emb"], strict=True)]
        return {**arguments, "image_rotary_emb": tuple(turned)}

    return Family(
        name="flux2",
        make=lambda **config: make_flux2(guidance, **config),
        inputs=flux2_inputs,
        first=lambda transformer, embeddings: transformer.context_embedder(embeddings),
        text_first=True,
        text_out=0,
        place=put,
    )


def _cogvideox(frames: int, **config: Any) -> Family:
    def inputs(transformer: Any, batch: int, rows: int, columns: int, text: int = 5, seed: int = 1) -> Arguments:
        noise, latent_frames = seeded_noise(seed), frames * (config.get("frame_patch") or 1)
        angle = noise(frames * rows * columns, 8)
        turned = [part.repeat_interleave(2, dim=1) for part in (angle.cos(), angle.sin())]
        return {
            "hidden_states": noise(batch, latent_frames, 4, 2 * rows, 2 * columns),
            "encoder_hidden_states": noise(batch, text if config.get("rotary", True) else 5, TEXT_WIDTH),
            "timestep": torch.full((batch,), 400),
            "image_rotary_emb": tuple(turned) if config.get("rotary", True) else None,
            "return_dict": False,
        }

    return Family(
        name="cogvideox",
        make=lambda **more: make_cogvideox(**config, **more),
        inputs=inputs,
        first=lambda transformer, embeddings: transformer.patch_embed.text_proj(embeddings),
        text_first=True,
        text_out=1,
        frames=frames,
    )


FAMILIES: Mapping[str, Family] = {
    "CogVideoX 5B": _cogvideox(3),
    "CogVideoX 2B": _cogvideox(3, rotary=False),
    "CogVideoX 1.5": _cogvideox(2, frame_patch=2),
    "Flux.1 dev": _flux(True),
    "Flux.1 schnell": _flux(False),
    "Flux.2 dev": _flux2(True, 510),
    "Flux.2 Klein": _flux2(False, 3),
    "SD3": _sd3(qk_norm=None, dual=()),
    "SD3.5 large": _sd3(dual=()),
    "SD3.5 medium": _sd3(),
}
