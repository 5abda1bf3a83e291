"""What the tests of the diffusers host share: a small Flux with several heads, and a naive twin of its joint blocks."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Without the host there is nothing to test here.
collect_ignore_glob = [] if importlib.util.find_spec("diffusers") else ["test_*.py"]

HOOK_DICTS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def make_transformer(guidance: bool = False, joint_blocks: int = 3, seed: int = 0) -> Any:
    """A random Flux with 3 heads of 16, text 128 wide, pooled text 64 wide."""
    from diffusers import FluxTransformer2DModel

    transformer = FluxTransformer2DModel(
        in_channels=64,
        num_layers=joint_blocks,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=3,
        joint_attention_dim=128,
        pooled_projection_dim=64,
        guidance_embeds=guidance,
        axes_dims_rope=(4, 6, 6),
    )
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in transformer.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            scale = parameter.shape[1] ** -0.5 if parameter.ndim == 2 else 0.3
            parameter.copy_(noise * scale + (parameter == 1))  # the scales of norms stay around one
    return transformer.eval()


def make_inputs(
    transformer: Any, batch: int = 2, rows: int = 3, columns: int = 4, text: int = 5, seed: int = 1
) -> dict[str, Any]:
    """Random arguments of one evaluation; the grid is row-major, as FluxPipeline has it."""
    generator = torch.Generator().manual_seed(seed)
    places = [(0, row, column) for row in range(rows) for column in range(columns)]
    return {
        "hidden_states": torch.randn(batch, rows * columns, 64, generator=generator),
        "encoder_hidden_states": torch.randn(batch, text, 128, generator=generator),
        "pooled_projections": torch.randn(batch, 64, generator=generator),
        "timestep": torch.rand(batch, generator=generator),
        "guidance": torch.full((batch,), 2.5) if transformer.config.guidance_embeds else None,
        "img_ids": torch.tensor(places, dtype=torch.float32),
        "txt_ids": torch.zeros(text, 3),
        "return_dict": False,
    }


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


def naive_scores(image_outs: list[Tensor], concept_outs: list[Tensor]) -> Tensor:
    """Dot products of every layer, (L, B, C, N)."""
    return torch.stack([concept @ image.movedim(1, 2) for image, concept in zip(image_outs, concept_outs, strict=True)])


def relative_error(actual: Tensor, expected: Tensor) -> float:
    """Largest difference, as a fraction of the largest expected value."""
    assert actual.shape == expected.shape, (actual.shape, expected.shape)
    return float((actual.double() - expected.double()).abs().max() / expected.double().abs().max())


def untouched(module: nn.Module) -> bool:
    """Whether nothing is hooked to any submodule, and no `forward` was replaced."""
    return all(
        not any(getattr(part, name) for name in HOOK_DICTS) and "forward" not in vars(part) for part in module.modules()
    )


@pytest.fixture(scope="session")
def tools() -> SimpleNamespace:
    """The functions above: test modules cannot import them."""
    return SimpleNamespace(
        make_transformer=make_transformer,
        make_inputs=make_inputs,
        naive_flux=naive_flux,
        naive_scores=naive_scores,
        relative_error=relative_error,
        untouched=untouched,
    )


@pytest.fixture(params=[False, True], ids=["schnell", "dev"])
def transformer(request: pytest.FixtureRequest) -> Any:
    """A fresh small Flux, without and with embedded guidance."""
    return make_transformer(guidance=request.param)


@pytest.fixture
def pipeline(transformer: Any, random_pipeline: Any) -> Any:
    """A FluxPipeline around that transformer; what else it is made of is shared."""
    return _pipeline_with(random_pipeline, transformer)


@pytest.fixture
def schnell(random_pipeline: Any) -> Any:
    """As `pipeline`, without embedded guidance only."""
    return _pipeline_with(random_pipeline, make_transformer())


def _pipeline_with(random_pipeline: Any, transformer: Any) -> Any:
    from diffusers import FluxPipeline

    pipeline = FluxPipeline(**{**random_pipeline.components, "transformer": transformer})
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.fixture
def captured(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], list[dict[str, Any]]]:
    """Keep the arguments of every evaluation of a transformer, as the naive twin takes them."""

    def capture(transformer: Any) -> list[dict[str, Any]]:
        calls: list[dict[str, Any]] = []
        forward = transformer.forward

        def keeping(**kwargs: Any) -> Any:
            calls.append({k: v.clone() if isinstance(v, Tensor) else v for k, v in kwargs.items()})
            return forward(**kwargs)

        monkeypatch.setattr(transformer, "forward", keeping)
        return calls

    return capture
