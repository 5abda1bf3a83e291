"""How Flux 2's pipelines are run.

Follows diffusers/pipelines/flux2/pipeline_flux2.py and pipeline_flux2_klein.py (0.42).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from diffusers.pipelines.flux2.pipeline_flux2 import compute_empirical_mu
from torch import Tensor

from ....choices import Pooling, Reader
from ....concepts import Concept
from ....errors import UserError
from ...encoded import EncodedConcepts, pool, resolve_pooling
from ...token_spans import REFERENCE_TEXTS, word_span
from ...unknown_words import unknown_words_message
from .family import PipelineFamily
from .request import Defaults, Request


class Flux2Family(PipelineFamily):
    """Flux 2: dev and Klein.

    Source: the authors' Flux 2 code. It encodes a concept in the chat template and keeps the token before the
    template's last one; its `encode_image` has zero guidance.
    """

    title = "Flux 2"
    pipelines = ("Flux2Pipeline", "Flux2KleinPipeline")
    names = {
        "flux.2-dev": "black-forest-labs/FLUX.2-dev",
        "flux.2-klein-4b": "black-forest-labs/FLUX.2-klein-4B",
        "flux.2-klein-9b": "black-forest-labs/FLUX.2-klein-9B",
    }

    def defaults(self, pipeline: Any) -> Defaults:
        if _is_dev(pipeline):
            return Defaults(side=1024, steps=28, guidance=4.0, cfg=1.0, max_tokens=512)
        if pipeline.config.is_distilled:
            return Defaults(side=1024, steps=4, guidance=0.0, cfg=1.0, max_tokens=512)
        return Defaults(side=1024, steps=50, guidance=0.0, cfg=4.0, max_tokens=512)

    def tokenizer(self, pipeline: Any) -> Any:
        """The tokenizer of prompts and concepts; dev has it inside a processor of texts and images."""
        return getattr(pipeline.tokenizer, "tokenizer", pipeline.tokenizer)

    @torch.no_grad()
    def encode_concepts(
        self, pipeline: Any, concepts: Sequence[Concept], pooling: Pooling, max_tokens: int, reader: Reader
    ) -> EncodedConcepts:
        """Encode each concept alone in the model's chat template. `auto` pools the last token.

        A token has only read those before it.
        """
        self.refuse_clip(reader)
        pooling = resolve_pooling(pooling, causal=True)
        states, ids, padded = _encode(pipeline, [*(concept.text for concept in concepts), *REFERENCE_TEXTS], max_tokens)
        words, others = self.tokenizer(pipeline), ids[len(concepts) :]
        pooled, counts = [], []
        for concept, own, state, fits in zip(concepts, ids, states, padded, strict=False):
            begin, end = word_span(own, others)
            if begin == end:
                raise UserError(
                    f'Concept "{concept.name}" has no tokens: the text encoder reads it as nothing. Rephrase its text.'
                )
            if not fits:
                raise UserError(
                    f'Concept "{concept.name}" is longer than the {max_tokens} tokens that fit. Rephrase it.'
                )
            if words.unk_token_id in own[begin:end]:
                raise UserError(unknown_words_message(words, concept.text))
            pooled.append(pool(state[begin:end], pooling))
            counts.append(end - begin)
        return EncodedConcepts(tuple(concepts), torch.stack(pooled), tuple(counts), pooling)

    def call_arguments(self, pipeline: Any, request: Request, batch: int) -> dict[str, Any]:
        """Arguments specific to these pipelines.

        Raises:
            UserError: for classifier-free guidance in a model that was distilled from it, and for a negative prompt.
        """
        if any(request.negative_prompts(batch)):
            raise UserError("Flux 2's pipelines take no negative prompt. Leave it out.")
        if request.cfg > 1 and (_is_dev(pipeline) or pipeline.config.is_distilled):
            raise UserError(f"This model has no classifier-free guidance, got {request.cfg:g}. Leave it out.")
        return {"guidance_scale": request.guidance if _is_dev(pipeline) else request.cfg}

    def schedule_arguments(self, config: Any, steps: int, tokens: int) -> dict[str, Any]:
        return {"sigmas": np.linspace(1, 1 / steps, steps), "mu": compute_empirical_mu(tokens, steps)}

    def encode_images(self, pipeline: Any, pixels: Tensor) -> Tensor:
        """Images (B, 3, H, W), -1 to 1, to normalised latents of 2x2 latent pixels, (B, C, H, W)."""
        latents = pipeline._encode_vae_image(pixels.to(pipeline._execution_device, pipeline.vae.dtype), generator=None)
        return latents.to(pipeline.transformer.dtype)

    def shown(self, pipeline: Any, conditions: Mapping[str, Any], latents: Tensor) -> Mapping[str, Any]:
        return super().shown(pipeline, conditions, pipeline._pack_latents(latents))

    def conditions(
        self, pipeline: Any, prompt: str, latents: Tensor, request: Request, noise: float, max_tokens: int
    ) -> dict[str, Any]:
        device, batch = pipeline._execution_device, len(latents)
        text, text_ids = pipeline.encode_prompt(prompt=[prompt] * batch, device=device, max_sequence_length=max_tokens)
        return {
            **self.sigma_and_guidance(pipeline, batch, noise),
            "encoder_hidden_states": text.to(latents.dtype),
            "img_ids": pipeline._prepare_latent_ids(latents).to(device),
            "txt_ids": text_ids,
        }


def _is_dev(pipeline: Any) -> bool:
    return type(pipeline).__name__ == "Flux2Pipeline"


def _encode(pipeline: Any, texts: list[str], max_tokens: int) -> tuple[Tensor, list[list[int]], list[bool]]:
    """Encode texts as the pipeline encodes prompts, each alone in its chat template.

    Returns:
        The transformer's text input for each, (B, tokens, E); the token ids that it was made from; and whether there
        was room for more, without which the end of the text may have been cut off.
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
