"""Flux 2 in ComfyUI and in diffusers: with the same weights, the same image and the same scores.

Diffusers' model runs the image, and then each of its joint blocks once more with the concepts instead of the prompt.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from einops import rearrange
from torch import Tensor

pytest.importorskip("diffusers")

from diffusers.loaders.single_file_utils import convert_flux2_transformer_checkpoint_to_diffusers
from diffusers.models.transformers import transformer_flux2

from concept_attention.hosts.comfyui.engine.settings import Settings

from ....support.comfyui.architectures.flux2 import VARIANTS
from ....support.comfyui.recording_spy import make_encoded, recording_of
from ....support.numbers import naive_scores, relative_error

CLOSE = 1e-4
SETTINGS = Settings(make_encoded())
DEV, KLEIN = VARIANTS
REFERENCES = [torch.randn(1, 128, *size, generator=torch.Generator().manual_seed(9)) for size in ((3, 5), (4, 2))]


def twin_of(network: Any) -> Any:
    """Diffusers' model with the same weights, as diffusers itself converts them."""
    twin = transformer_flux2.Flux2Transformer2DModel(
        num_layers=3,
        num_single_layers=1,
        attention_head_dim=64,
        num_attention_heads=2,
        joint_attention_dim=48,
        axes_dims_rope=(16, 16, 16, 16),
        guidance_embeds=network.params.guidance_embed,
    )
    twin.load_state_dict(convert_flux2_transformer_checkpoint_to_diffusers(dict(network.state_dict())))
    return twin.eval()


def tokens(latent: Tensor) -> Tensor:
    return rearrange(latent, "b c h w -> b (h w) c")


def positions(latent: Tensor, number: int) -> Tensor:
    """Position ids, (N, 4): number of the image, row, column, 0."""
    height, width = latent.shape[-2:]
    return torch.cartesian_prod(
        torch.tensor([10 * number]), torch.arange(height), torch.arange(width), torch.tensor([0])
    )


def text_positions(numbers: Sequence[int]) -> Tensor:
    """Position ids, (N, 4): 0, 0, 0, number of the token."""
    return torch.tensor([[0, 0, 0, number] for number in numbers])


@torch.no_grad()
def run_twin(
    twin: Any, latents: list[Tensor], inputs: dict[str, Any], position: int, monkeypatch: pytest.MonkeyPatch
) -> tuple[Tensor, Tensor]:
    """Its output for the first image, and the scores of all joint blocks, (L, B, C, N)."""
    attended: list[Tensor] = []
    blocks: list[dict[str, Any]] = []
    attend = transformer_flux2.dispatch_attention_fn

    def note(*args: Any, **options: Any) -> Tensor:
        attended.append(attend(*args, **options))
        return attended[-1]

    monkeypatch.setattr(transformer_flux2, "dispatch_attention_fn", note)
    handles = [
        block.register_forward_pre_hook(lambda module, args, options: blocks.append(options), with_kwargs=True)
        for block in twin.transformer_blocks
    ]
    image_ids = torch.cat([positions(latent, number) for number, latent in enumerate(latents)])
    output = twin(
        hidden_states=torch.cat([tokens(latent) for latent in latents], dim=1),
        img_ids=image_ids,
        txt_ids=text_positions(range(512)),
        **inputs,
    ).sample
    for handle in handles:
        handle.remove()
    count, own = len(SETTINGS.encoded.embeddings), math.prod(latents[0].shape[-2:])
    images = [out.flatten(2)[:, 512:][:, :own] for out in attended[: len(blocks)]]

    attended.clear()
    concept = twin.context_embedder(SETTINGS.encoded.embeddings.expand(len(output), -1, -1))
    turned = twin.pos_embed(torch.cat([text_positions([position] * count), image_ids]))
    for block, options in zip(twin.transformer_blocks, blocks, strict=True):
        concept, _ = block(**{**options, "encoder_hidden_states": concept, "image_rotary_emb": turned})
    monkeypatch.undo()
    return output[:, :own], naive_scores(images, [out.flatten(2)[:, :count] for out in attended])


@pytest.mark.parametrize(
    "tiny, position, edit", [(DEV, 510, False), (KLEIN, 3, False), (KLEIN, 3, True)], ids=["dev", "Klein", "Klein edit"]
)
def test_two_hosts_give_the_same_scores(tiny: Any, position: int, edit: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    model, positive = tiny.make(), tiny.cond()
    network, calls = model.model.diffusion_model, []
    if edit:
        positive[0][1]["reference_latents"] = REFERENCES
    handle = network.register_forward_hook(lambda *call: calls.append(call[1:]), with_kwargs=True)
    recording = recording_of(model, SETTINGS, positive=positive, latent=tiny.empty(2), steps=2)
    handle.remove()

    twin, expected = twin_of(network), []
    for (x, timestep), options, output in calls:
        inputs = {"encoder_hidden_states": options["context"], "timestep": timestep}
        inputs["guidance"] = options["guidance"] if network.params.guidance_embed else None
        latents = [x, *(options.get("ref_latents") or [])]
        theirs, scores = run_twin(twin, latents, inputs, position, monkeypatch)
        assert relative_error(tokens(output), theirs) < CLOSE
        expected.append(scores)
    assert len(calls) == 2
    assert relative_error(recording.scores, torch.stack(expected)) < CLOSE
