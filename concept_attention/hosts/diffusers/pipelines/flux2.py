"""How Flux 2's pipelines are run: defaults, texts, what they are called with, and how they are shown a picture.

Follows diffusers/pipelines/flux2/pipeline_flux2.py and pipeline_flux2_klein.py (0.42).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from diffusers.pipelines.flux2.pipeline_flux2 import compute_empirical_mu
from torch import Tensor

from ....choices import Pooling, Reader
from ....concepts import Concept
from ...encoded import EncodedConcepts, pool, resolve_pooling
from ...token_spans import OTHERS, word_span
from ...unknown_words import unknown_words_message
from . import flow
from .request import Defaults, Request
from .t5 import refuse_clip

TITLE = "Flux 2"
PIPELINES = ("Flux2Pipeline", "Flux2KleinPipeline")
NAMES = {
    "flux.2-dev": "black-forest-labs/FLUX.2-dev",
    "flux.2-klein-4b": "black-forest-labs/FLUX.2-klein-4B",
    "flux.2-klein-9b": "black-forest-labs/FLUX.2-klein-9B",
}
VIDEO = False


def defaults(pipeline: Any) -> Defaults:
    """What to run it with."""
    if _is_dev(pipeline):
        return Defaults(side=1024, steps=28, guidance=4.0, cfg=1.0, max_tokens=512)
    if pipeline.config.is_distilled:
        return Defaults(side=1024, steps=4, guidance=0.0, cfg=1.0, max_tokens=512)
    return Defaults(side=1024, steps=50, guidance=0.0, cfg=4.0, max_tokens=512)


def tokenizer(pipeline: Any) -> Any:
    """The tokenizer that the prompt's words go through; dev has it inside a processor of texts and pictures."""
    return getattr(pipeline.tokenizer, "tokenizer", pipeline.tokenizer)


@torch.no_grad()
def encode_concepts(
    pipeline: Any, concepts: Sequence[Concept], pooling: Pooling, max_tokens: int, reader: Reader
) -> EncodedConcepts:
    """Each concept alone in the model's chat template. A token has only read those before it: `auto` is the last.

    Source: the authors' Flux 2 code, which keeps the token before the template's last one.
    """
    refuse_clip(reader, TITLE)
    pooling = resolve_pooling(pooling, causal=True)
    states, ids, padded = _read(pipeline, [*(concept.text for concept in concepts), *OTHERS], max_tokens)
    words, others = tokenizer(pipeline), ids[len(concepts) :]
    pooled, counts = [], []
    for concept, own, read, fits in zip(concepts, ids, states, padded, strict=False):
        begin, end = word_span(own, others)
        if begin == end:
            raise ValueError(f'Concept "{concept.name}" has no tokens: the text encoder reads it as nothing.')
        if not fits:
            raise ValueError(f'Concept "{concept.name}" is longer than the {max_tokens} tokens that fit. Rephrase it.')
        if words.unk_token_id in own[begin:end]:
            raise ValueError(unknown_words_message(words, concept.text))
        pooled.append(pool(read[begin:end], pooling))
        counts.append(end - begin)
    return EncodedConcepts(tuple(concepts), torch.stack(pooled), tuple(counts), pooling)


def call_arguments(pipeline: Any, request: Request, batch: int) -> dict[str, Any]:
    """What these pipelines are called with beside what all are.

    Raises:
        ValueError: for classifier-free guidance in a model that was distilled from it, and for a negative prompt.
    """
    if request.negative_prompt:
        raise ValueError("Flux 2's pipelines take no negative prompt. Leave it out.")
    if request.cfg > 1 and (_is_dev(pipeline) or pipeline.config.is_distilled):
        raise ValueError(f"This model has no classifier-free guidance, got {request.cfg:g}. Leave it out.")
    return {"guidance_scale": request.guidance if _is_dev(pipeline) else request.cfg}


layout = flow.layout
outputs = flow.outputs
step_sigma = flow.step_sigma
noised = flow.noised


def schedule_sigma(pipeline: Any, steps: int, step: int, tokens: int) -> float:
    """Sigma (0-1) at a step of the model's own schedule of so many steps, for a picture of so many tokens."""
    scheduler = type(pipeline.scheduler).from_config(pipeline.scheduler.config)
    scheduler.set_timesteps(sigmas=np.linspace(1, 1 / steps, steps), mu=compute_empirical_mu(tokens, steps))
    return float(scheduler.sigmas[step])


def encode_pictures(pipeline: Any, pixels: Tensor) -> Tensor:
    """Pictures (B, 3, H, W), -1 to 1, to normalised, packed latents, (B, N, D), in the transformer's dtype."""
    latents = pipeline._encode_vae_image(pixels.to(pipeline._execution_device, pipeline.vae.dtype), generator=None)
    return pipeline._pack_latents(latents).to(pipeline.transformer.dtype)


def conditions(
    pipeline: Any, prompt: str, batch: int, width: int, height: int, noise: float, latents: Tensor, max_tokens: int
) -> dict[str, Any]:
    """The transformer's arguments beside the latents. Source: the authors' `encode_image`, with zero guidance."""
    device = pipeline._execution_device
    text, text_ids = pipeline.encode_prompt(prompt=[prompt] * batch, device=device, max_sequence_length=max_tokens)
    guided = pipeline.transformer.config.guidance_embeds
    return {
        "encoder_hidden_states": text.to(latents.dtype),
        "timestep": flow.full(pipeline, batch, noise),
        "guidance": torch.zeros(batch, device=device) if guided else None,
        "img_ids": pipeline._prepare_latent_ids(latents.new_empty(batch, 1, height // 16, width // 16)).to(device),
        "txt_ids": text_ids,
    }


def _is_dev(pipeline: Any) -> bool:
    return type(pipeline).__name__ == "Flux2Pipeline"


def _read(pipeline: Any, texts: list[str], max_tokens: int) -> tuple[Tensor, list[list[int]], list[bool]]:
    """Texts as the pipeline reads a prompt, each alone in its chat template.

    Returns:
        What the transformer gets of each, (B, tokens, E); the token ids that it was made from; and whether there was
        room for more, without which the end of the text may have been cut off.
    """
    given: list[dict[str, Tensor]] = []
    handle = pipeline.text_encoder.register_forward_pre_hook(
        lambda module, args, options: given.append(options), with_kwargs=True
    )
    try:
        states, _ = pipeline.encode_prompt(
            prompt=texts, device=pipeline._execution_device, max_sequence_length=max_tokens
        )
    finally:
        handle.remove()
    return states, given[0]["input_ids"].tolist(), (given[0]["attention_mask"] == 0).any(dim=1).tolist()
