"""How Stable Diffusion 3's pipeline is run: defaults, texts, what it is called with, and how it is shown a picture.

Follows diffusers/pipelines/stable_diffusion_3/pipeline_stable_diffusion_3.py (0.42).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from diffusers.pipelines.stable_diffusion_3.pipeline_stable_diffusion_3 import calculate_shift
from torch import Tensor

from ....choices import Pooling, Reader
from ....concepts import Concept
from ...encoded import EncodedConcepts, pool, resolve_pooling
from ...unknown_words import unknown_words_message
from . import flow
from .request import Defaults, Request, is_tiny, model_name
from .t5 import encode_with_t5

TITLE = "Stable Diffusion 3"
PIPELINES = ("StableDiffusion3Pipeline",)
NAMES = {
    "sd3-medium": "stabilityai/stable-diffusion-3-medium-diffusers",
    "sd3.5-medium": "stabilityai/stable-diffusion-3.5-medium",
    "sd3.5-large": "stabilityai/stable-diffusion-3.5-large",
    "sd3.5-large-turbo": "stabilityai/stable-diffusion-3.5-large-turbo",
}
VIDEO = False


def defaults(pipeline: Any) -> Defaults:
    """What to run it with. Nothing but its name tells a turbo model from another."""
    text = pipeline.tokenizer_3 or pipeline.tokenizer
    tokens = min(256, text.model_max_length)
    if is_tiny(pipeline):
        return Defaults(side=128, steps=40, guidance=0.0, cfg=3.0, max_tokens=tokens)
    if "turbo" in model_name(pipeline).casefold():
        return Defaults(side=1024, steps=4, guidance=0.0, cfg=1.0, max_tokens=tokens)
    return Defaults(side=1024, steps=28, guidance=0.0, cfg=4.5, max_tokens=tokens)


def tokenizer(pipeline: Any) -> Any:
    """The tokenizer that the prompt's words go through: T5's, CLIP's in a model that was loaded without T5."""
    return pipeline.tokenizer_3 or pipeline.tokenizer


def encode_concepts(
    pipeline: Any, concepts: Sequence[Concept], pooling: Pooling, max_tokens: int, reader: Reader
) -> EncodedConcepts:
    """Each concept alone through T5, or all of them in one line through CLIP.

    Raises:
        ValueError: for the reader `t5` where the pipeline was loaded without T5.

    Source: arXiv:2502.04320 for T5; the authors' SD3 code for CLIP, whose concepts have one token each.
    """
    has_t5 = pipeline.text_encoder_3 is not None
    if reader == "clip" or (reader == "auto" and not has_t5):
        return _encode_with_clip(pipeline, concepts, resolve_pooling(pooling, causal=True))
    if not has_t5:
        raise ValueError('The reader "t5" needs T5, and this pipeline was loaded without it. Choose "clip".')
    return encode_with_t5(
        pipeline, pipeline.tokenizer_3, pipeline.text_encoder_3, concepts, pooling, max_tokens, read_by="t5"
    )


def call_arguments(pipeline: Any, request: Request, batch: int) -> dict[str, Any]:
    """What this pipeline is called with beside what all are."""
    return {"negative_prompt": [request.negative_prompt] * batch, "guidance_scale": request.cfg}


layout = flow.layout
outputs = flow.outputs
step_sigma = flow.step_sigma
noised = flow.noised


def schedule_sigma(pipeline: Any, steps: int, step: int, tokens: int) -> float:
    """Sigma (0-1) at a step of the model's own schedule of so many steps, for a picture of so many tokens."""
    scheduler = type(pipeline.scheduler).from_config(pipeline.scheduler.config)
    usual = {"base_image_seq_len": 256, "max_image_seq_len": 4096, "base_shift": 0.5, "max_shift": 1.16}
    shift = calculate_shift(tokens, *(scheduler.config.get(name, value) for name, value in usual.items()))
    shifted = {"mu": shift} if scheduler.config.get("use_dynamic_shifting") else {}
    scheduler.set_timesteps(steps, **shifted)
    return float(scheduler.sigmas[step])


def encode_pictures(pipeline: Any, pixels: Tensor) -> Tensor:
    """Pictures (B, 3, H, W), -1 to 1, to latents, (B, C, H / 8, W / 8), in the transformer's dtype."""
    return flow.scaled(pipeline, flow.encode(pipeline, pixels)).to(pipeline.transformer.dtype)


def conditions(
    pipeline: Any, prompt: str, batch: int, width: int, height: int, noise: float, latents: Tensor, max_tokens: int
) -> dict[str, Any]:
    """The transformer's arguments beside the latents.

    Source: the authors' SD3 code, in which a picture is looked at with the prompt's own pooled vector.
    """
    text, _, pooled, _ = pipeline.encode_prompt(
        [prompt] * batch,
        None,
        None,
        device=pipeline._execution_device,
        do_classifier_free_guidance=False,
        max_sequence_length=max_tokens,
    )
    train_steps = pipeline.scheduler.config.num_train_timesteps
    return {
        "encoder_hidden_states": text.to(latents.dtype),
        "pooled_projections": pooled.to(latents.dtype),
        "timestep": torch.full((batch,), noise * train_steps, device=pipeline._execution_device),  # never rounded
    }


def _encode_with_clip(pipeline: Any, concepts: Sequence[Concept], pooling: Pooling) -> EncodedConcepts:
    """All concepts as one line of CLIP-L and CLIP-G; the start token goes along as their companion.

    The authors take the line's first tokens, one for each concept; here every concept has as many as it has.
    """
    words = pipeline.tokenizer
    ids = [words(concept.text, add_special_tokens=False).input_ids for concept in concepts]
    for concept, own in zip(concepts, ids, strict=True):
        if not own:
            raise ValueError(f'Concept "{concept.name}" has no tokens: CLIP reads "{concept.text}" as nothing.')
        if words.unk_token_id != words.eos_token_id and words.unk_token_id in own:  # the real one has bytes instead
            raise ValueError(unknown_words_message(words, concept.text))
    counts = [len(own) for own in ids]
    room = pipeline.tokenizer_max_length - 2
    if sum(counts) > room:
        raise ValueError(
            f"The concepts together have {sum(counts)} tokens, CLIP can take {room}. "
            'Name fewer, or choose the reader "t5", which reads each by itself.'
        )
    line = " ".join(concept.text for concept in concepts)
    states = torch.cat(
        [pipeline._get_clip_prompt_embeds(line, clip_model_index=index)[0][0] for index in range(2)], dim=-1
    )
    states = F.pad(states, (0, pipeline.transformer.config.joint_attention_dim - states.shape[-1]))
    pooled = [pool(own, pooling) for own in states[1 : 1 + sum(counts)].split(counts)]
    return EncodedConcepts(
        tuple(concepts), torch.stack(pooled), tuple(counts), pooling, context_tokens=states[:1], read_by="clip"
    )
