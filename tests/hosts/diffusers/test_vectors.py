"""The vectors of joint blocks: those that the model's own modules compute, in every family, and only if asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from concept_attention.hosts.diffusers.stream import ConceptStream
from concept_attention.vectors import JointVectors

from ...support.diffusers.families import FAMILIES, Family
from ...support.diffusers.hooks import untouched
from ...support.diffusers.tiny_transformers import TEXT_WIDTH
from ...support.diffusers.twin import twin
from ...support.numbers import relative_error

CONCEPTS = torch.randn(3, TEXT_WIDTH, generator=torch.Generator().manual_seed(2))


def attention_of(block: Any) -> Any:
    return block.attn1 if hasattr(block, "attn1") else block.attn


def as_heads(attn: Any, passed: Tensor) -> Tensor:
    """What a projection (B, N, D) or a norm passed, as (B, heads, N, head_dim); Flux's norms take heads last."""
    if passed.ndim == 3:
        return passed.unflatten(-1, (attn.heads, -1)).transpose(1, 2)
    return passed.transpose(1, 2) if type(attn).__name__.startswith("Flux") else passed


@contextmanager
def passing(modules: dict[str, nn.Module], attn: Any) -> Iterator[dict[str, list[Tensor]]]:
    """What modules pass meanwhile, as heads; copies, because a block may change them in place."""
    seen: dict[str, list[Tensor]] = {name: [] for name in modules}

    def keep(name: str) -> Callable[..., None]:
        return lambda module, args, output: seen[name].append(as_heads(attn, output).clone())

    handles = [module.register_forward_hook(keep(name)) for name, module in modules.items()]
    yield seen
    for handle in handles:
        handle.remove()


def modules_of(block: Any) -> dict[str, nn.Module]:
    attn = attention_of(block)
    image = {"q": attn.norm_q or attn.to_q, "k": attn.norm_k or attn.to_k, "v": attn.to_v}
    if hasattr(block, "attn1"):  # text and image share them
        return image
    text = {"q": attn.norm_added_q, "k": attn.norm_added_k, "v": None}
    projections = {"q": attn.add_q_proj, "k": attn.add_k_proj, "v": attn.add_v_proj}
    return {**image, **{f"text_{part}": text[part] or projections[part] for part in text}}


def observed(transformer: Any, inputs: Any, **options: Any) -> list[JointVectors]:
    """Copies of the vectors of every joint block."""
    seen: list[JointVectors] = []

    def keep(layer: int, vectors: JointVectors) -> None:
        assert layer == len(seen)
        names = [f"{side}_{part}" for side in ("image", "concept") for part in ("q", "k", "v", "out")]
        copies = {name: getattr(vectors, name).clone() for name in names}
        turned = vectors.rotated_image_q.clone()
        seen.append(JointVectors(**copies, rotate_image=lambda heads: turned))

    last = len(transformer.transformer_blocks) - 1
    with ConceptStream(transformer, CONCEPTS, lambda *_: None, last, on_vectors=keep, **options), torch.no_grad():
        transformer(**inputs)
    return seen


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> Family:
    return FAMILIES[request.param]


@pytest.mark.parametrize("layer", [0, 2])
def test_vectors_are_those_of_the_models_own_modules(family: Family, layer: int) -> None:
    transformer = family.make()
    inputs = family.inputs(transformer, 2, 2, 3)
    block = transformer.transformer_blocks[layer]
    tokens = family.frames * 6
    with passing(modules_of(block), attention_of(block)) as seen:
        images, concepts = twin(family, transformer, inputs, CONCEPTS)
    found = observed(transformer, inputs)[layer]
    assert torch.equal(found.image_out, images[layer])
    assert relative_error(found.concept_out, concepts[layer]) < 1e-5
    shared = "text_q" not in seen
    for part in ("q", "k", "v"):
        image = seen[part][0][:, :, -tokens:]
        concept = seen[part][1][:, :, :3] if shared else seen[f"text_{part}"][1]
        assert torch.equal(getattr(found, f"image_{part}"), image), part
        assert relative_error(getattr(found, f"concept_{part}"), concept) < 1e-5, part


def test_rotated_queries_are_those_that_attend(family: Family, monkeypatch: pytest.MonkeyPatch) -> None:
    transformer = family.make()
    inputs = family.inputs(transformer, 1, 2, 3)
    tokens = family.frames * 6
    queries: list[Tensor] = []
    attend = functional.scaled_dot_product_attention

    def keep(query: Tensor, *args: Any, **options: Any) -> Tensor:
        queries.append(query.clone())
        return attend(query, *args, **options)

    with monkeypatch.context() as patched, torch.no_grad():
        patched.setattr(functional, "scaled_dot_product_attention", keep)
        transformer(**inputs)
    expected = queries[0][:, :, -tokens:] if family.text_first else queries[0][:, :, :tokens]
    assert relative_error(observed(transformer, inputs)[0].rotated_image_q, expected) < 1e-5


def test_fused_projections_give_the_same_vectors() -> None:
    for name in (name for name, family in FAMILIES.items() if family.fuses and family.name != "sd3"):
        family = FAMILIES[name]
        transformer = family.make()
        inputs = family.inputs(transformer, 1, 2, 3)
        plain = observed(transformer, inputs)[1]
        transformer.fuse_qkv_projections()
        fused = observed(transformer, inputs)[1]
        for field in ("image_q", "image_k", "image_v", "concept_q", "concept_k", "concept_v"):
            assert relative_error(getattr(fused, field), getattr(plain, field)) < 1e-5, (name, field)


def test_looking_at_vectors_changes_nothing_and_leaves_nothing(family: Family) -> None:
    transformer = family.make()
    inputs = family.inputs(transformer, 2, 2, 3)
    with torch.no_grad():
        plain = transformer(**inputs)[0]
    with ConceptStream(transformer, CONCEPTS, lambda *_: None, 2, on_vectors=lambda *_: None), torch.no_grad():
        assert torch.equal(transformer(**inputs)[0], plain)
    assert untouched(transformer)


def test_only_the_observed_rows_are_shown(family: Family) -> None:
    transformer = family.make()
    inputs = family.inputs(transformer, 2, 2, 3)
    whole = observed(transformer, inputs)[2]
    half = observed(transformer, inputs, observe=lambda arguments: slice(-1, None))[2]
    for name in ("image_q", "image_k", "image_v", "image_out", "concept_q", "concept_k"):
        assert relative_error(getattr(half, name), getattr(whole, name)[-1:]) < 1e-5, name


def test_queries_are_not_looked_at_for_nothing(family: Family) -> None:
    transformer = family.make()
    query = attention_of(transformer.transformer_blocks[0])
    query = query.norm_q or query.to_q
    with ConceptStream(transformer, CONCEPTS, lambda *_: None, 2):
        assert not query._forward_hooks
