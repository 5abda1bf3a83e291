"""Qwen-Image in ComfyUI and in diffusers: with the same weights, the same image and the same scores.

Diffusers' model runs the image; the concepts beside it are spelled out from the formulas in float64.
"""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

pytest.importorskip("diffusers")

from diffusers.models.transformers import transformer_qwenimage

from concept_attention.hosts.comfyui.engine.settings import Settings

from ....support.comfyui.architectures.qwen_image import IMAGE
from ....support.comfyui.recording_spy import make_encoded, recording_of
from ....support.numbers import naive_scores, relative_error

CLOSE = 1e-4
SETTINGS = Settings(make_encoded())
REFERENCE = torch.randn(1, 16, 1, 8, 4, generator=torch.Generator().manual_seed(9))


def packed(image: Tensor) -> Tensor:
    return rearrange(image, "b c t (h p) (w q) -> b (t h w) (c p q)", p=2, q=2)


def twin_of(network: Any, timestep_zero: bool) -> Any:
    """Diffusers' model with the same weights; the names are the same, all of them."""
    twin = transformer_qwenimage.QwenImageTransformer2DModel(
        in_channels=64,
        num_layers=3,
        num_attention_heads=2,
        attention_head_dim=32,
        joint_attention_dim=48,
        axes_dims_rope=(8, 12, 12),
        zero_cond_t=timestep_zero,
    )
    twin.load_state_dict(network.state_dict())
    return twin.eval()


@torch.no_grad()
def run_twin(
    twin: Any, x: Tensor, timestep: Tensor, context: Tensor, references: list[Tensor], monkeypatch: pytest.MonkeyPatch
) -> tuple[Tensor, Tensor, list[tuple[Tensor, Tensor, Tensor]]]:
    """Its output for the image, the timestep's embedding, and every block's image keys, values and attention output.

    The latter are (B, N, heads, head_dim), of the image and the references.
    """
    passed, text = [], context.shape[1]
    attend = transformer_qwenimage.dispatch_attention_fn

    def note(query: Tensor, key: Tensor, value: Tensor, **options: Any) -> Tensor:
        output = attend(query, key, value, **options)
        passed.append((key[:, text:], value[:, text:], output[:, text:]))
        return output

    embedded: list[Tensor] = []
    handle = twin.time_text_embed.register_forward_hook(lambda module, args, output: embedded.append(output))
    monkeypatch.setattr(transformer_qwenimage, "dispatch_attention_fn", note)
    images = [x, *references]
    output = twin(
        hidden_states=torch.cat([packed(one) for one in images], dim=1),
        encoder_hidden_states=context,
        timestep=timestep,
        img_shapes=[[(1, one.shape[-2] // 2, one.shape[-1] // 2) for one in images]] * len(x),
    ).sample
    monkeypatch.undo()
    handle.remove()
    return output[:, : packed(x).shape[1]], embedded[0][: len(x)], passed


def naive_concepts(
    twin: Any, embeddings: Tensor, temb: Tensor, place: int, passed: list[tuple[Tensor, Tensor, Tensor]]
) -> list[Tensor]:
    """The concepts' attention outputs of every block, (B, C, D), from the formulas.

    Args:
        embeddings: (C, E).
        temb: the timestep's embedding, (B, D).
        place: number that all three axes of the concepts' position have.
        passed: every block's image keys and values, rotated, (B, N, heads, head_dim).
    """
    weights = {name: tensor.double() for name, tensor in twin.state_dict().items()}

    def linear(name: str, x: Tensor) -> Tensor:
        return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    def rms(name: str, x: Tensor) -> Tensor:
        return x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt() * weights[f"{name}.weight"]

    def layer_norm(x: Tensor) -> Tensor:
        return (x - x.mean(-1, keepdim=True)) / (x.var(-1, keepdim=True, unbiased=False) + 1e-6).sqrt()

    def rotate(x: Tensor) -> Tensor:
        frequencies = torch.cat([10000.0 ** (-torch.arange(0, width, 2) / width) for width in (8, 12, 12)]).double()
        even, odd = x[..., ::2], x[..., 1::2]
        cos, sin = (place * frequencies).cos(), (place * frequencies).sin()
        return torch.stack([even * cos - odd * sin, even * sin + odd * cos], dim=-1).flatten(-2)

    concept = linear("txt_in", rms("txt_norm", embeddings.double())).expand(len(temb), -1, -1)
    outs = []
    for index, (image_k, image_v, _) in enumerate(passed):
        block = f"transformer_blocks.{index}"
        mods = linear(f"{block}.txt_mod.1", F.silu(temb.double()))[:, None].chunk(6, dim=-1)
        hidden = layer_norm(concept) * (1 + mods[1]) + mods[0]
        q, k, v = (
            linear(f"{block}.attn.add_{part}_proj", hidden).unflatten(-1, (2, 32)).movedim(2, 1) for part in "qkv"
        )
        q, k = (rotate(rms(f"{block}.attn.norm_added_{name}", part)) for name, part in (("q", q), ("k", k)))
        key, value = (
            torch.cat([own, image.double().movedim(2, 1)], dim=2) for own, image in ((k, image_k), (v, image_v))
        )
        outs.append((torch.softmax(q @ key.mT / math.sqrt(32), dim=-1) @ value).movedim(1, 2).flatten(2))
        concept = concept + mods[2] * linear(f"{block}.attn.to_add_out", outs[-1])
        hidden = layer_norm(concept) * (1 + mods[4]) + mods[3]
        hidden = F.gelu(linear(f"{block}.txt_mlp.net.0.proj", hidden), approximate="tanh")
        concept = concept + mods[5] * linear(f"{block}.txt_mlp.net.2", hidden)
    return outs


@pytest.mark.parametrize("method", [None, "index", "index_timestep_zero"], ids=["image", "edit", "edit 2511"])
def test_two_hosts_give_the_same_scores(method: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sizes are even numbers of tokens: of odd ones the hosts count the rows from another line in the middle."""
    model, latent = IMAGE.make(), torch.zeros(2, 16, 1, 16, 8)
    network, calls = model.model.diffusion_model, []
    edit = {} if method is None else {"reference_latents": [REFERENCE], "reference_latents_method": method}
    handle = network.register_forward_hook(lambda *call: calls.append(call[1:]), with_kwargs=True)
    recording = recording_of(model, SETTINGS, positive=IMAGE.cond(**edit), latent=latent, steps=2)
    handle.remove()

    twin, expected = twin_of(network, method == "index_timestep_zero"), []
    for (x, timestep), options, output in calls:
        references = options.get("ref_latents") or []
        theirs, temb, passed = run_twin(twin, x, timestep, options["context"], references, monkeypatch)
        assert relative_error(packed(output), theirs) < CLOSE
        images = [image_out[:, : theirs.shape[1]].flatten(2).double() for _, _, image_out in passed]
        concepts = naive_concepts(twin, SETTINGS.encoded.embeddings, temb, 4, passed)
        expected.append(naive_scores(images, concepts))
    assert recording.grid == (1, 8, 4) and len(calls) == 2
    assert relative_error(recording.scores, torch.stack(expected)) < CLOSE
