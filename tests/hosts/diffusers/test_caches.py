"""Caches and other hooks that leave out parts of a joint block: what was not computed is not recorded."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from concept_attention.concepts import parse_concepts
from concept_attention.errors import UserError
from concept_attention.hosts.diffusers.recorder import Recorder
from concept_attention.hosts.encoded import EncodedConcepts
from concept_attention.recording.recording import Recording

from ...support.diffusers.families import FAMILIES, Family
from ...support.diffusers.tiny_transformers import TEXT_WIDTH, Arguments
from ...support.diffusers.twin import twin
from ...support.numbers import naive_scores, relative_error

CLOSE = 1e-5


@pytest.fixture(params=["Flux.1 schnell", "Flux.2 dev", "SD3.5 large", "CogVideoX 5B"])
def family(request: pytest.FixtureRequest) -> Family:
    return FAMILIES[request.param]


def record(family: Family, transformer: Any, runs: list[Arguments], layers: str) -> Recording:
    embeddings = torch.randn(3, TEXT_WIDTH, generator=torch.Generator().manual_seed(2))
    encoded = EncodedConcepts(parse_concepts("one, two, three"), embeddings, (1, 1, 1), "first")
    tokens = family.frames * 6
    recorder = Recorder(SimpleNamespace(transformer=transformer), encoded, layers, "flux", tokens)
    with recorder.watching(), torch.no_grad():
        for step, inputs in enumerate(runs):
            transformer(**inputs)
            recorder.commit(step, 1 - step / 8)
    return recorder.build((family.frames, 2, 3), (32, 48), {})


def scores(family: Family, transformer: Any, inputs: Arguments) -> Tensor:
    """(L, B, C, N), from the model's own blocks."""
    embeddings = torch.randn(3, TEXT_WIDTH, generator=torch.Generator().manual_seed(2))
    pads = 223 if family.name == "cogvideox" else 0
    images, concepts = twin(family, transformer, inputs, embeddings, pads)
    return naive_scores(images, [concept[:, :3] for concept in concepts])


def reuse_attention(transformer: Any, layer: int) -> None:
    """Compute the attention of one joint block in every second evaluation, and reuse it in the others."""
    from diffusers import PyramidAttentionBroadcastConfig, apply_pyramid_attention_broadcast

    block = transformer.transformer_blocks[layer]
    name = "attn1" if hasattr(block, "attn1") else "attn"
    config = PyramidAttentionBroadcastConfig(
        spatial_attention_block_skip_range=2,
        spatial_attention_block_identifiers=(rf"transformer_blocks\.{layer}\.{name}$",),
        spatial_attention_timestep_skip_range=(-1, 1001),
        current_timestep_callback=lambda: 500,
    )
    apply_pyramid_attention_broadcast(transformer, config)


@pytest.mark.parametrize("layer", [0, 1, 2])
@pytest.mark.parametrize("layers", ["2", "all"])
def test_a_step_whose_attention_a_cache_reuses_is_not_recorded_and_said_to_be_missing(
    family: Family, layer: int, layers: str, caplog: pytest.LogCaptureFixture
) -> None:
    transformer = family.make()
    runs = [family.inputs(transformer, 1, 2, 3, seed=seed) for seed in range(4)]
    plain = torch.stack([scores(family, transformer, inputs) for inputs in runs])[:, 2 if layers == "2" else 0 :]
    reuse_attention(transformer, layer)
    with caplog.at_level(logging.WARNING, "concept_attention"):
        recording = record(family, transformer, runs, layers)
    assert recording.steps == (0, 2)
    assert relative_error(recording.scores, plain[::2]) < CLOSE
    said = f"a cache skipped the attention of joint block {layer}"
    assert caplog.messages == [f"2 of 4 steps recorded: {said}"]
    assert (recording.metadata["steps"], recording.metadata["troubles"]) == ("2 of 4 steps recorded", said)


def test_a_cache_after_the_recorded_layers_costs_nothing(family: Family, caplog: pytest.LogCaptureFixture) -> None:
    transformer = family.make()
    runs = [family.inputs(transformer, 1, 2, 3, seed=seed) for seed in range(3)]
    plain = torch.stack([scores(family, transformer, inputs) for inputs in runs])[:, :2]
    reuse_attention(transformer, 2)
    recording = record(family, transformer, runs, "0,1")
    assert recording.steps == (0, 1, 2) and not caplog.messages
    assert relative_error(recording.scores, plain) < CLOSE
    assert "troubles" not in recording.metadata


def test_a_run_of_which_a_cache_left_nothing_says_so(family: Family) -> None:
    transformer = family.make()
    inputs = family.inputs(transformer, 1, 2, 3)
    reuse_attention(transformer, 1)
    with torch.no_grad():
        transformer(**inputs)  # what is reused from now on
    with pytest.raises(UserError, match="^Nothing was recorded: a cache skipped the attention of joint block 1"):
        record(family, transformer, [inputs], "all")


def test_blocks_that_a_cache_leaves_out_are_missing_and_said_to_be(caplog: pytest.LogCaptureFixture) -> None:
    """A first-block cache computes block 0 and, if it hardly changed, reuses what the others did."""
    from diffusers import FirstBlockCacheConfig

    family = FAMILIES["Flux.1 schnell"]
    transformer = family.make()
    inputs = family.inputs(transformer, 1, 2, 3)
    transformer.enable_cache(FirstBlockCacheConfig(threshold=0.1))
    with transformer.cache_context("cond"):
        recording = record(family, transformer, [inputs, inputs], "all")
    assert recording.steps == (0,)
    assert caplog.messages == ["1 of 2 steps recorded: a cache skipped joint blocks"]


@pytest.mark.parametrize("layer", [0, 1])
def test_the_concepts_skip_a_block_that_sd3_is_told_to_skip(layer: int) -> None:
    """Skip-layer guidance."""
    family = FAMILIES["SD3.5 large"]
    transformer, short = family.make(), family.make()
    inputs = family.inputs(transformer, 1, 2, 3)
    del short.transformer_blocks[layer]
    found = record(family, transformer, [{**inputs, "skip_layers": [layer]}], "2").scores[0, 0]
    assert relative_error(found, scores(family, short, inputs)[1]) < CLOSE


@pytest.mark.parametrize("layer", [0, 1])
def test_the_concepts_skip_a_block_that_is_skipped_for_the_prompt_too(layer: int) -> None:
    from diffusers import LayerSkipConfig
    from diffusers.hooks import apply_layer_skip

    family = FAMILIES["CogVideoX 5B"]
    transformer, short = family.make(), family.make()
    inputs = family.inputs(transformer, 1, 2, 3)
    del short.transformer_blocks[layer]
    apply_layer_skip(transformer, LayerSkipConfig(indices=[layer], fqn="transformer_blocks"))
    found = record(family, transformer, [inputs], "2").scores[0, 0]
    assert relative_error(found, scores(family, short, inputs)[1]) < CLOSE


def test_an_attention_that_cannot_be_observed_is_missing_and_said_to_be() -> None:
    """A processor of its own that does not use the block's projections."""
    family = FAMILIES["Flux.1 schnell"]
    transformer = family.make()
    inputs = family.inputs(transformer, 1, 2, 3)

    def process(attn: Any, hidden_states: Tensor, encoder_hidden_states: Tensor, *_: Any, **__: Any) -> Any:
        return attn.to_out[0](hidden_states), encoder_hidden_states

    transformer.transformer_blocks[1].attn.processor = process
    with pytest.raises(UserError, match="joint block 1 computes its attention in a way that cannot be observed"):
        record(family, transformer, [inputs], "all")
