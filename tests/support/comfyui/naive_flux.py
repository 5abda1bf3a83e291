"""Flux 1 and its concepts spelled out in float64 from the formulas, with none of ComfyUI's code and no hooks."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


@torch.no_grad()
def naive_flux(network: Any, inputs: dict[str, Any], embeddings: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """The joint blocks' attention outputs of the target image tokens and of the concepts, before the projection.

    Args:
        network: a Flux of comfy.ldm.flux.model; only its weights and sizes are read.
        inputs: `x` (B, 16, H, W), `timestep` (B,), `context` (B, T, E), `y` (B, P), `guidance` (B,) or None, and
            `ref_latents`, reference images (B, 16, h, w).
        embeddings: of the concepts, (C, E).

    Returns:
        Per joint block (B, N, D) and (B, C, D); N counts the target image tokens only.
    """
    weights = {name: tensor.double() for name, tensor in network.state_dict().items()}
    heads = network.num_heads

    def linear(name: str, x: Tensor) -> Tensor:
        return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    def embed(name: str, x: Tensor) -> Tensor:
        return linear(f"{name}.out_layer", F.silu(linear(f"{name}.in_layer", x)))

    def sinusoid(value: Tensor) -> Tensor:  # float32, as a model of any precision has it
        angles = value.float()[:, None] * 1000 * torch.exp(-math.log(10000) * torch.arange(128) / 128)
        return torch.cat([angles.cos(), angles.sin()], dim=-1).double()

    def conditioning(pooled: Tensor) -> Tensor:
        vec = embed("time_in", sinusoid(inputs["timestep"])) + embed("vector_in", pooled.double())
        if inputs.get("guidance") is not None and network.params.guidance_embed:
            vec = vec + embed("guidance_in", sinusoid(inputs["guidance"]))
        return vec[:, None]

    def tokens(latent: Tensor, index: int, down: int) -> tuple[Tensor, list[tuple[float, float, float]]]:
        """2x2 patches, row by row; a patch that is not full wraps around to the latent's other side."""
        latent = latent.double()
        batch, channels, height, width = latent.shape
        rows, columns = (height + 1) // 2, (width + 1) // 2
        out, positions = [], []
        for row in range(rows):
            for column in range(columns):
                pixels = [
                    latent[:, :, (2 * row + p) % height, (2 * column + q) % width] for p in (0, 1) for q in (0, 1)
                ]
                out.append(torch.stack(pixels, dim=2).reshape(batch, channels * 4))
                positions.append((float(index), float(row + down), float(column)))
        return linear("img_in", torch.stack(out, dim=1)), positions

    def layer_norm(x: Tensor) -> Tensor:
        return (x - x.mean(-1, keepdim=True)) / (x.var(-1, keepdim=True, unbiased=False) + 1e-6).sqrt()

    def rotate(x: Tensor, positions: list[tuple[float, float, float]]) -> Tensor:
        turned, start = [], 0
        for axis, width in enumerate(network.params.axes_dim):
            along_axis = torch.tensor([position[axis] for position in positions], dtype=torch.float64)
            angle = along_axis[:, None] * 10000.0 ** (-torch.arange(0, width, 2, dtype=torch.float64) / width)
            even, odd = x[..., start : start + width : 2], x[..., start + 1 : start + width : 2]
            pair = torch.stack([even * angle.cos() - odd * angle.sin(), even * angle.sin() + odd * angle.cos()], -1)
            turned.append(pair.flatten(-2))
            start += width
        return torch.cat(turned, dim=-1)

    def project(name: str, x: Tensor, positions: list[tuple[float, float, float]]) -> list[Tensor]:
        """Queries, keys and values (B, heads, N, head_dim), the first two normalised and rotated."""
        found = []
        for part, norm in zip(linear(f"{name}.qkv", x).chunk(3, dim=-1), ("query", "key", None), strict=True):
            part = part.reshape(*part.shape[:2], heads, -1).movedim(2, 1)
            if norm:
                part = part / (part.square().mean(-1, keepdim=True) + torch.finfo(torch.float32).eps).sqrt()
                part = rotate(part * weights[f"{name}.norm.{norm}_norm.weight"], positions)
            found.append(part)
        return found

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        shares = torch.softmax(q @ k.movedim(-1, -2) / math.sqrt(q.shape[-1]), dim=-1)
        return (shares @ v).movedim(1, 2).flatten(2)

    def modulation(name: str, vec: Tensor) -> tuple[Tensor, ...]:
        return linear(f"{name}.lin", F.silu(vec)).chunk(6, dim=-1)

    def finish(block: str, stream: str, x: Tensor, attended: Tensor, mods: tuple[Tensor, ...]) -> Tensor:
        x = x + mods[2] * linear(f"{block}.{stream}_attn.proj", attended)
        hidden = layer_norm(x) * (1 + mods[4]) + mods[3]
        hidden = F.gelu(linear(f"{block}.{stream}_mlp.0", hidden), approximate="tanh")
        return x + mods[5] * linear(f"{block}.{stream}_mlp.2", hidden)

    img, positions = tokens(inputs["x"], 0, 0)
    target = len(positions)
    for reference in inputs.get("ref_latents") or []:  # at the image's origin, where ComfyUI puts the first one
        more, their_positions = tokens(reference, 1, 0)
        img, positions = torch.cat([img, more], dim=1), positions + their_positions
    batch = len(img)
    txt = linear("txt_in", inputs["context"].double())
    concept = linear("txt_in", embeddings.double().expand(batch, -1, -1))
    vec, concept_vec = conditioning(inputs["y"]), conditioning(torch.zeros_like(inputs["y"]))

    image_outs, concept_outs = [], []
    for index in range(len(network.double_blocks)):
        block = f"double_blocks.{index}"
        streams = []
        for x, stream, at, its_vec in (
            (txt, "txt", [(0.0, 0.0, 0.0)] * txt.shape[1], vec),
            (img, "img", positions, vec),
            (concept, "txt", [(0.0, 0.0, 0.0)] * concept.shape[1], concept_vec),
        ):
            mods = modulation(f"{block}.{stream}_mod", its_vec)
            streams.append((mods, project(f"{block}.{stream}_attn", layer_norm(x) * (1 + mods[1]) + mods[0], at)))
        (txt_mods, (tq, tk, tv)), (img_mods, (iq, ik, iv)), (concept_mods, (cq, ck, cv)) = streams
        key, value = torch.cat([tk, ik], dim=2), torch.cat([tv, iv], dim=2)
        txt_out, img_out = attend(tq, key, value), attend(iq, key, value)
        concept_out = attend(cq, torch.cat([ck, ik], dim=2), torch.cat([cv, iv], dim=2))
        image_outs.append(img_out[:, :target])
        concept_outs.append(concept_out)
        txt = finish(block, "txt", txt, txt_out, txt_mods)
        img = finish(block, "img", img, img_out, img_mods)
        concept = finish(block, "txt", concept, concept_out, concept_mods)
    return image_outs, concept_outs
