"""Stable Diffusion 3 in ComfyUI and in diffusers: with the same weights, the same image and the same scores.

Diffusers' model runs the image; the concepts beside it are spelled out from the formulas in float64.
"""

from __future__ import annotations

import math
from typing import Any

import comfy.utils
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

pytest.importorskip("diffusers")

from diffusers import SD3Transformer2DModel

from concept_attention.heatmaps.heatmaps import make_heatmaps
from concept_attention.hosts.comfyui.engine.settings import Settings

from ....support.comfyui.architectures.sd3 import VARIANTS
from ....support.comfyui.architectures.tiny_architecture import TinyArchitecture
from ....support.comfyui.recording_spy import make_encoded, recording_of
from ....support.numbers import naive_scores, relative_error

CLOSE = 1e-4
SETTINGS = Settings(make_encoded())
BLOCKS = 3


def twin_of(tiny: TinyArchitecture, network: Any) -> Any:
    """Diffusers' model with the same weights, by ComfyUI's own table of names, made for LoRAs of diffusers."""
    twin = SD3Transformer2DModel(
        sample_size=16,
        in_channels=16,
        num_layers=BLOCKS,
        num_attention_heads=BLOCKS,
        joint_attention_dim=48,
        caption_projection_dim=64 * BLOCKS,
        pooled_projection_dim=64,
        pos_embed_max_size=16,
        dual_attention_layers=tuple(tiny.config.get("x_block_self_attn_layers", ())),
        qk_norm="rms_norm" if tiny.config.get("qk_norm") else None,
    )
    weights, names = network.state_dict(), comfy.utils.mmdit_to_diffusers({"depth": BLOCKS})

    def find(name: str) -> Tensor:
        place = names[name]
        if isinstance(place, str):
            return weights[place]
        found, part, *changed = place
        tensor = weights[found] if part is None else weights[found].narrow(*part)
        return changed[0](tensor) if changed else tensor

    twin.load_state_dict({name: find(name) for name in twin.state_dict()})
    return twin.eval()


@torch.no_grad()
def run_twin(
    twin: Any, x: Tensor, timestep: Tensor, context: Tensor, pooled: Tensor
) -> tuple[Tensor, Tensor, list[tuple[Tensor, Tensor, Tensor]]]:
    """Its output, the modulation vector, and every block's image keys, values and attention output.

    The first two are (B, heads, N, head_dim), the last is (B, N, D), before the projection.
    """
    embedded: list[Tensor] = []
    keys: list[tuple[Tensor, Tensor]] = []
    attended: list[Tensor] = []

    def note_keys(attn: Any, args: Any, kwargs: dict[str, Any]) -> None:
        key, value = (
            project(kwargs["hidden_states"]).unflatten(-1, (BLOCKS, 64)).transpose(1, 2)
            for project in (attn.to_k, attn.to_v)
        )
        keys.append((key if attn.norm_k is None else attn.norm_k(key), value))

    handles = [twin.time_text_embed.register_forward_hook(lambda module, args, output: embedded.append(output))]
    for block in twin.transformer_blocks:
        handles.append(block.attn.register_forward_pre_hook(note_keys, with_kwargs=True))
        handles.append(block.attn.to_out[0].register_forward_pre_hook(lambda module, args: attended.append(args[0])))
    output = twin(hidden_states=x, encoder_hidden_states=context, pooled_projections=pooled, timestep=timestep).sample
    for handle in handles:
        handle.remove()
    return output, embedded[0], [(*pair, out) for pair, out in zip(keys, attended, strict=True)]


def naive_concepts(
    twin: Any, embeddings: Tensor, temb: Tensor, passed: list[tuple[Tensor, Tensor, Tensor]]
) -> list[Tensor]:
    """The concepts' attention outputs of every block, (B, C, D), from the formulas; embeddings (C, E), temb (B, D)."""
    weights = {name: tensor.double() for name, tensor in twin.state_dict().items()}

    def linear(name: str, x: Tensor) -> Tensor:
        return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    def rms(name: str, x: Tensor) -> Tensor:
        if f"{name}.weight" not in weights:
            return x
        return x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt() * weights[f"{name}.weight"]

    def layer_norm(x: Tensor) -> Tensor:
        return (x - x.mean(-1, keepdim=True)) / (x.var(-1, keepdim=True, unbiased=False) + 1e-6).sqrt()

    concept = linear("context_embedder", embeddings.double()).expand(len(temb), -1, -1)
    outs = []
    for index, (image_k, image_v, _) in enumerate(passed):
        block = f"transformer_blocks.{index}"
        last = index == BLOCKS - 1
        mods = linear(f"{block}.norm1_context.linear", F.silu(temb.double()))[:, None].chunk(2 if last else 6, dim=-1)
        scale, shift = mods if last else (mods[1], mods[0])
        hidden = layer_norm(concept) * (1 + scale) + shift
        q, k, v = (
            linear(f"{block}.attn.add_{part}_proj", hidden).unflatten(-1, (BLOCKS, 64)).transpose(1, 2)
            for part in "qkv"
        )
        q, k = rms(f"{block}.attn.norm_added_q", q), rms(f"{block}.attn.norm_added_k", k)
        key, value = (torch.cat([own, image.double()], dim=2) for own, image in ((k, image_k), (v, image_v)))
        outs.append((torch.softmax(q @ key.mT / math.sqrt(64), dim=-1) @ value).transpose(1, 2).flatten(2))
        if not last:
            concept = concept + mods[2] * linear(f"{block}.attn.to_add_out", outs[-1])
            hidden = layer_norm(concept) * (1 + mods[4]) + mods[3]
            hidden = F.gelu(linear(f"{block}.ff_context.net.0.proj", hidden), approximate="tanh")
            concept = concept + mods[5] * linear(f"{block}.ff_context.net.2", hidden)
    return outs


@pytest.mark.parametrize("tiny", VARIANTS, ids=lambda tiny: tiny.name)
def test_two_hosts_give_the_same_scores_and_heatmaps(tiny: TinyArchitecture) -> None:
    model, calls = tiny.make(), []
    network = model.model.diffusion_model
    handle = network.register_forward_hook(lambda *call: calls.append(call[1:]), with_kwargs=True)
    recording = recording_of(model, SETTINGS, positive=tiny.cond(), latent=torch.zeros(2, 16, 12, 8), steps=2)
    handle.remove()

    twin, scores, norms = twin_of(tiny, network), [], []
    for (x, timestep), options, output in calls:
        theirs, temb, passed = run_twin(twin, x, timestep, options["context"], options["y"])
        assert relative_error(output, theirs) < CLOSE
        concepts = naive_concepts(twin, SETTINGS.encoded.embeddings, temb, passed)
        scores.append(naive_scores([out.double() for *_, out in passed], concepts))
        norms.append(torch.stack(concepts).norm(dim=-1))
    assert len(calls) == 2
    assert relative_error(recording.scores, torch.stack(scores)) < CLOSE
    unit = torch.stack(scores) / torch.stack(norms)[..., None]
    shares = torch.softmax(unit, dim=3).mean((0, 1)).unflatten(-1, (6, 4))
    assert relative_error(make_heatmaps(recording).values, shares) < CLOSE
