"""A naive twin of Flux 1's joint blocks with concepts: formulas in float64, with no code of diffusers."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


@torch.no_grad()
def naive_flux(
    transformer: Any, inputs: dict[str, Any], embeddings: Tensor, pads: int = 0
) -> tuple[list[Tensor], list[Tensor]]:
    """The formulas of arXiv:2502.04320 and of Flux, spelled out in float64, with no code of diffusers.

    Args:
        transformer: only its weights and sizes are read.
        inputs: arguments of its `forward`.
        embeddings: of the concepts, (C, E) or (B, C, E).
        pads: zero embeddings put after the concepts.

    Returns:
        Per joint block the attention outputs before the projection: of the image (B, N, D), of the concepts
        (B, C + pads, D).
    """
    weights = {name: tensor.double() for name, tensor in transformer.state_dict().items()}
    heads, head_dim = transformer.config.num_attention_heads, transformer.config.attention_head_dim

    def linear(name: str, x: Tensor) -> Tensor:
        return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    def mlp(first: str, second: str, x: Tensor) -> Tensor:
        return linear(second, F.silu(linear(first, x)))

    def sinusoid(value: Tensor) -> Tensor:  # float32, as a model of any precision has it
        angles = value.float()[:, None] * 1000 * torch.exp(-math.log(10000) * torch.arange(128) / 128)
        return torch.cat([angles.cos(), angles.sin()], dim=-1).double()

    def conditioning(pooled: Tensor) -> Tensor:
        embed = "time_text_embed"
        vec = mlp(f"{embed}.text_embedder.linear_1", f"{embed}.text_embedder.linear_2", pooled.double())
        for part, value in (("timestep", inputs["timestep"]), ("guidance", inputs["guidance"])):
            if value is not None:
                name = f"{embed}.{part}_embedder"
                vec = vec + mlp(f"{name}.linear_1", f"{name}.linear_2", sinusoid(value))
        return vec

    def layer_norm(x: Tensor) -> Tensor:
        return (x - x.mean(-1, keepdim=True)) / (x.var(-1, keepdim=True, unbiased=False) + 1e-6).sqrt()

    def project(x: Tensor, name: str, norm: str | None, position: Tensor) -> Tensor:
        """(B, tokens, D) to heads (B, heads, tokens, head_dim), normalised and rotated where `norm` is given."""
        x = linear(name, x).reshape(*x.shape[:2], heads, head_dim).movedim(2, 1)
        if norm is None:
            return x
        x = x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt() * weights[f"{norm}.weight"]
        turned, start = [], 0
        for axis, width in enumerate(transformer.config.axes_dims_rope):
            frequency = 10000.0 ** (-torch.arange(0, width, 2, dtype=torch.float64) / width)
            angle = position[:, axis, None].double() * frequency
            pair = torch.view_as_complex(x[..., start : start + width].unflatten(-1, (-1, 2)).contiguous())
            turned.append(torch.view_as_real(pair * torch.polar(torch.ones_like(angle), angle)).flatten(-2))
            start += width
        return torch.cat(turned, dim=-1)

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        shares = torch.softmax(q @ k.movedim(-1, -2) / math.sqrt(head_dim), dim=-1)
        return (shares @ v).movedim(1, 2).flatten(2)

    def modulated(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        return layer_norm(x) * (1 + scale) + shift

    def finish(block: str, ff: str, out: str, x: Tensor, attended: Tensor, mods: list[Tensor]) -> Tensor:
        _, _, gate, shift, scale, gate_mlp = mods
        x = x + gate * linear(f"{block}.attn.{out}", attended)
        hidden = F.gelu(linear(f"{block}.{ff}.net.0.proj", modulated(x, scale, shift)), approximate="tanh")
        return x + gate_mlp * linear(f"{block}.{ff}.net.2", hidden)

    batch = len(inputs["hidden_states"])
    embeddings = embeddings.double().expand(batch, *embeddings.shape[-2:])
    padding = torch.zeros(batch, pads, embeddings.shape[-1], dtype=torch.float64)
    img = linear("x_embedder", inputs["hidden_states"].double())
    txt = linear("context_embedder", inputs["encoder_hidden_states"].double())
    concept = linear("context_embedder", torch.cat([embeddings, padding], dim=1))
    vec = conditioning(inputs["pooled_projections"])
    concept_vec = conditioning(torch.zeros_like(inputs["pooled_projections"]))
    origin = torch.zeros(concept.shape[1], 3)

    image_outs, concept_outs = [], []
    for index in range(transformer.config.num_layers):
        block = f"transformer_blocks.{index}"
        streams = []  # q, k, v of the text, of the image, of the concepts
        for x, norm, its_vec, qkv, normed, position in (
            (txt, "norm1_context", vec, "add_{}_proj", "norm_added_{}", inputs["txt_ids"]),
            (img, "norm1", vec, "to_{}", "norm_{}", inputs["img_ids"]),
            (concept, "norm1_context", concept_vec, "add_{}_proj", "norm_added_{}", origin),
        ):
            mods = list(linear(f"{block}.{norm}.linear", F.silu(its_vec)).unsqueeze(1).chunk(6, dim=-1))
            x = modulated(x, mods[1], mods[0])
            q, k = (
                project(x, f"{block}.attn.{qkv.format(n)}", f"{block}.attn.{normed.format(n)}", position) for n in "qk"
            )
            streams.append((q, k, project(x, f"{block}.attn.{qkv.format('v')}", None, position), mods))
        text, image, concepts = streams
        joint = attend(*(torch.cat([text[i], image[i]], dim=2) for i in range(3)))
        both = attend(*(torch.cat([concepts[i], image[i]], dim=2) for i in range(3)))
        text_out, image_out = joint[:, : txt.shape[1]], joint[:, txt.shape[1] :]
        concept_out = both[:, : concept.shape[1]]
        image_outs.append(image_out)
        concept_outs.append(concept_out)
        txt = finish(block, "ff_context", "to_add_out", txt, text_out, text[3])
        img = finish(block, "ff", "to_out.0", img, image_out, image[3])
        concept = finish(block, "ff_context", "to_add_out", concept, concept_out, concepts[3])
    return image_outs, concept_outs
