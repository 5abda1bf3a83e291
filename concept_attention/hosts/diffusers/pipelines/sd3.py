"""How Stable Diffusion 3's pipeline is run.

Follows diffusers/pipelines/stable_diffusion_3/pipeline_stable_diffusion_3.py (0.42).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ....choices import Pooling, Reader
from ....concepts import Concept
from ....errors import UserError
from ...encoded import EncodedConcepts, pool, resolve_pooling
from ...unknown_words import unknown_words_message
from ..transformers.sd3 import SD3
from .family import PipelineFamily
from .request import Defaults, Layout, Request, is_tiny, model_name
from .t5 import encode_with_t5


class SD3Family(PipelineFamily):
    """Stable Diffusion 3 and 3.5.

    Source: arXiv:2502.04320 for concepts through T5. The authors' SD3 code for concepts through CLIP, which have one
    token each there, and for the analysis of an image with the prompt's own pooled vector.
    """

    title = "Stable Diffusion 3"
    pipelines = ("StableDiffusion3Pipeline",)
    names = {
        "sd3-medium": "stabilityai/stable-diffusion-3-medium-diffusers",
        "sd3.5-medium": "stabilityai/stable-diffusion-3.5-medium",
        "sd3.5-large": "stabilityai/stable-diffusion-3.5-large",
        "sd3.5-large-turbo": "stabilityai/stable-diffusion-3.5-large-turbo",
    }
    guidance_in_batch = True
    optional = ("text_encoder_3", "tokenizer_3")
    max_shift = 1.16

    def defaults(self, pipeline: Any) -> Defaults:
        """Only its name tells a turbo model from another."""
        tokens = min(256, self.tokenizer(pipeline).model_max_length)
        if is_tiny(pipeline):
            return Defaults(side=128, steps=40, guidance=0.0, cfg=3.0, max_tokens=tokens)
        if "turbo" in model_name(pipeline).casefold():
            return Defaults(side=1024, steps=4, guidance=0.0, cfg=1.0, max_tokens=tokens)
        return Defaults(side=1024, steps=28, guidance=0.0, cfg=4.5, max_tokens=tokens)

    def layout(self, pipeline: Any, width: int, height: int, frames: int) -> Layout:
        """The token grid.

        Raises:
            UserError: for frames, and for a size beyond the model's table of positions.
        """
        layout = super().layout(pipeline, width, height, frames)
        SD3().describe(pipeline.transformer).check_grid(*layout.grid[1:], token_pixels=16)
        return layout

    def tokenizer(self, pipeline: Any) -> Any:
        """The tokenizer of prompts and concepts: T5's, or CLIP's in a model that was loaded without T5."""
        return pipeline.tokenizer_3 or pipeline.tokenizer

    def text_encoder(self, pipeline: Any) -> Any:
        return pipeline.text_encoder_3 or pipeline.text_encoder

    def encode_concepts(
        self, pipeline: Any, concepts: Sequence[Concept], pooling: Pooling, max_tokens: int, reader: Reader
    ) -> EncodedConcepts:
        """Encode each concept alone through T5, or all of them in one line through CLIP.

        Raises:
            UserError: for the reader `t5` where the pipeline was loaded without T5.
        """
        t5 = pipeline.text_encoder_3
        if reader == "clip" or (reader == "auto" and t5 is None):
            return _encode_with_clip(pipeline, concepts, resolve_pooling(pooling, causal=True))
        if t5 is None:
            raise UserError('The reader "t5" needs T5, and this pipeline was loaded without it. Choose "clip".')
        return encode_with_t5(pipeline, pipeline.tokenizer_3, t5, concepts, pooling, max_tokens, read_by="t5")

    def call_arguments(self, pipeline: Any, request: Request, batch: int) -> dict[str, Any]:
        return {"negative_prompt": request.negative_prompts(batch), "guidance_scale": request.cfg}

    def schedule_arguments(self, config: Any, steps: int, tokens: int) -> dict[str, Any]:
        shifted = {"mu": self.usual_shift(config, tokens)} if config.get("use_dynamic_shifting") else {}
        return {"num_inference_steps": steps, **shifted}

    def conditions(
        self, pipeline: Any, prompt: str, latents: Tensor, request: Request, noise: float, max_tokens: int
    ) -> dict[str, Any]:
        device, batch = pipeline._execution_device, len(latents)
        text, _, pooled, _ = pipeline.encode_prompt(
            [prompt] * batch,
            None,
            None,
            device=device,
            do_classifier_free_guidance=False,
            max_sequence_length=max_tokens,
        )
        timestep = noise * pipeline.scheduler.config.num_train_timesteps
        return {
            "encoder_hidden_states": text.to(latents.dtype),
            "pooled_projections": pooled.to(latents.dtype),
            "timestep": torch.full((batch,), timestep, device=device),  # never rounded
        }


def _encode_with_clip(pipeline: Any, concepts: Sequence[Concept], pooling: Pooling) -> EncodedConcepts:
    """Encode all concepts as one line of CLIP-L and CLIP-G; the line's start token is their context token.

    The authors take the line's first tokens, one for each concept; here every concept has as many as its text.
    """
    tokenizer = pipeline.tokenizer
    ids = [tokenizer(concept.text, add_special_tokens=False).input_ids for concept in concepts]
    for concept, own in zip(concepts, ids, strict=True):
        if not own:
            raise UserError(
                f'Concept "{concept.name}" has no tokens: CLIP reads "{concept.text}" as nothing. Rephrase its text.'
            )
        # The real tokenizer has bytes instead of an unknown token.
        if tokenizer.unk_token_id != tokenizer.eos_token_id and tokenizer.unk_token_id in own:
            raise UserError(unknown_words_message(tokenizer, concept.text))
    counts = [len(own) for own in ids]
    room = pipeline.tokenizer_max_length - 2
    if sum(counts) > room:
        raise UserError(
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
