"""What a training run shows of itself: a sheet of generated pictures and the map accuracy on unseen scenes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from einops import rearrange
from PIL import Image

from ...files import save_image
from ...hosts.diffusers.flux import pack_latents, position_ids, unpack_latents
from ...hosts.diffusers.stream import ConceptStream
from ...scores import score_concepts
from ..codec import LinearCodec
from ..model import JOINT_BLOCKS, SHIFT, Parts
from ..scenes import FIRST_UNSEEN_SEED, LABELS, draw_scene, token_coverage
from ..texts import TEXT_TOKENS, clip_row, t5_row, token_table, word_ids
from .landscape import MAP_LAYERS

PROMPTS = (
    "a red house and a tree on grass under the sky",
    "a boat, a sun, water, sky",
    "a moon and a mountain on snow under the night sky",
    "a blue car and a flower on grass",
    "a balloon and a cloud over sand",
    "a yellow flower and a rock on grass",
    "a picture of a mountain and a sun",
    "snow and sky with a green house and a tree",
)


def _encode(parts: Parts, texts: tuple[str, ...], device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    table = token_table()
    ids = [word_ids(text, table) for text in texts]
    t5 = torch.tensor([t5_row(row, TEXT_TOKENS) for row in ids], device=device)
    clip = torch.tensor([clip_row(row, TEXT_TOKENS) for row in ids], device=device)
    hidden = parts.t5(input_ids=t5, attention_mask=torch.ones_like(t5)).last_hidden_state
    return hidden, parts.clip(input_ids=clip).pooler_output


@torch.no_grad()
def sample_sheet(
    parts: Parts, codec: LinearCodec, path: Path, grid: int, guidance: float = 4.0, steps: int = 16
) -> None:
    """Generate PROMPTS (Euler) and write them as one picture."""
    device = next(parts.transformer.parameters()).device
    texts, pooled = _encode(parts, PROMPTS + ("",) * len(PROMPTS), device)
    ids, text_ids = position_ids(grid, grid, device), torch.zeros(TEXT_TOKENS, 3, device=device)
    noise = torch.randn(len(PROMPTS), grid * grid, 64, generator=torch.Generator().manual_seed(0)).to(device)
    linear = torch.linspace(1, 0, steps + 1)
    sigmas = (SHIFT * linear / (1 + (SHIFT - 1) * linear)).tolist()
    for sigma, following in zip(sigmas, sigmas[1:], strict=False):
        velocity = parts.transformer(
            hidden_states=noise.repeat(2, 1, 1),
            encoder_hidden_states=texts,
            pooled_projections=pooled,
            timestep=torch.full((2 * len(PROMPTS),), sigma, device=device),
            img_ids=ids,
            txt_ids=text_ids,
            return_dict=False,
        )[0]
        with_text, without = velocity.chunk(2)
        noise = noise + (following - sigma) * (without + guidance * (with_text - without))
    latents = unpack_latents(noise, grid)
    pictures = codec.decode(latents.cpu().numpy())
    columns = 4
    sheet = rearrange(pictures, "(r c) h w k -> (r h) (c w) k", c=columns)
    save_image(Image.fromarray(np.ascontiguousarray(sheet)), path)


@torch.no_grad()
def map_accuracy(parts: Parts, codec: LinearCodec, grid: int, scenes: int = 48, sigma: float = 0.3) -> float:
    """Share of tokens whose best concept is the right one, on unseen scenes, no prompt, the scene's own words."""
    device = next(parts.transformer.parameters()).device
    right = total = 0
    for index in range(scenes):
        scene = draw_scene(FIRST_UNSEEN_SEED + index, 16 * grid, 16 * grid)
        image = torch.from_numpy(codec.encode(scene.image[None])).to(device)
        image = pack_latents(image)
        noise = torch.randn(image.shape, generator=torch.Generator().manual_seed(index)).to(device)
        words, _ = _encode(parts, scene.words, device)
        empty, _ = _encode(parts, ("",), device)
        shares: list[torch.Tensor] = []

        def keep(layer: int, image_out: torch.Tensor, concept_out: torch.Tensor, into: list = shares) -> None:
            if layer in MAP_LAYERS:
                into.append(score_concepts(image_out, concept_out).softmax(1))

        with ConceptStream(parts.transformer, words[:, 0], keep, JOINT_BLOCKS - 1):
            parts.transformer(
                hidden_states=torch.lerp(image, noise, sigma),
                encoder_hidden_states=empty,
                pooled_projections=torch.zeros(1, parts.transformer.config.pooled_projection_dim, device=device),
                timestep=torch.full((1,), sigma, device=device),
                img_ids=position_ids(grid, grid, device),
                txt_ids=torch.zeros(TEXT_TOKENS, 3, device=device),
            )
        best = torch.stack(shares).mean(0)[0].argmax(0).cpu().numpy()
        truth = token_coverage(scene.labels).reshape(len(LABELS), -1)[[LABELS.index(w) for w in scene.words]]
        right += int((best == truth.argmax(0)).sum())
        total += best.size
    return right / total
