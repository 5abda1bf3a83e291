"""The Qwen-Image adapter: sizes, reference images, layers, odd sizes, and whose blocks it knows."""

from __future__ import annotations

import types
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from concept_attention.hosts.comfyui.adapters.block_call import BlockCall
from concept_attention.hosts.comfyui.adapters.qwen_image import QwenImage
from concept_attention.hosts.comfyui.adapters.registry import adapter_for
from concept_attention.hosts.comfyui.engine.settings import Settings

from ....support.comfyui.architectures.oracle import recorded_and_expected
from ....support.comfyui.architectures.qwen_image import IMAGE, LAYERED, MAGE
from ....support.comfyui.encoders import clip_of, first_word
from ....support.comfyui.recording_spy import make_encoded, recording_of
from ....support.numbers import relative_error

CLOSE = 1e-5
SETTINGS = Settings(make_encoded())
METHODS = ("index", "index_timestep_zero", "negative_index", "offset")


def images(*sizes: tuple[int, ...]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(9)
    return [torch.randn(size, generator=generator) for size in sizes]


REFERENCES = images((1, 16, 1, 6, 8), (1, 16, 1, 4, 4))


def network_of(blocks: Any, cls: type = object, **attributes: Any) -> Any:
    network = types.SimpleNamespace(transformer_blocks=blocks, **attributes)
    return types.SimpleNamespace(diffusion_model=network)


@pytest.mark.parametrize(
    "count, layers", [(60, tuple(range(47, 59))), (12, (9, 10)), (2, (0,)), (1, (0,))], ids=["qwen", "mage", "2", "1"]
)
def test_default_layers_end_before_the_last_block_whose_text_goes_nowhere(count: int, layers: tuple[int, ...]) -> None:
    model = network_of(range(count), txt_in=types.SimpleNamespace(in_features=3584), patch_size=2)
    found = QwenImage().describe(model)
    assert (found.default_layers, found.text_width) == (layers, 3584)


def test_sizes_are_read_from_the_live_model() -> None:
    found = QwenImage().describe(IMAGE.make().model)
    assert (found.layer_count, found.text_width, found.patch) == (3, 48, 2)


def test_concepts_have_the_position_of_the_first_word() -> None:
    """The host cuts the template off."""
    assert first_word(clip_of("Qwen-Image")) == QwenImage().describe(IMAGE.make().model).concept_position == 0


def test_other_blocks_in_their_place_are_refused() -> None:
    """Packs that load quantised weights bring blocks of their own, with other projections."""
    model = IMAGE.make().model
    model.diffusion_model.transformer_blocks = nn.ModuleList([nn.Identity()])
    assert not QwenImage().matches(model)
    with pytest.raises(ValueError, match="not in this variant"):
        adapter_for(model)
    assert not QwenImage().matches(types.SimpleNamespace(diffusion_model=nn.Identity()))
    assert not QwenImage().matches(network_of([]))


def test_compiled_blocks_are_known() -> None:
    model = IMAGE.make().model
    blocks = model.diffusion_model.transformer_blocks
    blocks[0] = torch.compile(blocks[0], backend="eager")
    assert QwenImage().matches(model) and QwenImage().describe(model).layer_count == 3


def test_slices_are_counted_from_the_end_of_the_keys() -> None:
    found = QwenImage().token_slices(BlockCall({"hidden_states": torch.zeros(1, 40, 4)}, slice(None), 24), 47)
    assert (found.image, found.target) == (slice(7, 47), slice(7, 31))


@pytest.mark.parametrize("method", METHODS)
def test_concepts_see_reference_images_that_are_not_mapped(method: str) -> None:
    model, latent = IMAGE.make(), IMAGE.empty(2)
    positive = IMAGE.cond(reference_latents=REFERENCES, reference_latents_method=method)
    recording, expected = recorded_and_expected(IMAGE, model, SETTINGS, positive=positive, latent=latent, steps=1)
    assert recording.scores.shape[-1] == 24
    assert relative_error(recording.scores, expected) < CLOSE
    alone = recording_of(model, SETTINGS, positive=IMAGE.cond(), latent=latent, steps=1)
    assert relative_error(recording.scores, alone.scores) > 100 * CLOSE


@pytest.mark.parametrize("method", METHODS)
def test_the_negative_prompt_in_the_same_batch_changes_nothing(method: str) -> None:
    """With "index_timestep_zero" the timestep's embedding has twice as many rows as the batch."""
    model, latent = IMAGE.make(), IMAGE.empty(2)
    edit = {"reference_latents": REFERENCES, "reference_latents_method": method}
    options = {"positive": IMAGE.cond(**edit), "latent": latent, "steps": 1}
    alone = recording_of(model, SETTINGS, **options)
    both = recording_of(model, SETTINGS, **options, negative=IMAGE.cond(seed=3, **edit), cfg=4.0)
    assert relative_error(both.scores, alone.scores) < CLOSE


@torch.no_grad()
def test_concepts_have_the_timestep_of_the_image_not_of_its_references() -> None:
    """Also where all rows are recorded: then the embedding has twice as many."""
    network = IMAGE.make().model.diffusion_model
    generator = torch.Generator().manual_seed(9)
    temb, concept = torch.randn(4, 64, generator=generator), torch.randn(2, 3, 64, generator=generator)
    keys, values = torch.randn(2, 2, 2, 5, 32, generator=generator)
    ids = torch.zeros(2, 12, 3)
    arguments = {"encoder_hidden_states": torch.zeros(2, 7, 64), "image_rotary_emb": network.pe_embedder(ids)}
    doubled = BlockCall({**arguments, "temb": temb, "timestep_zero_index": 3}, slice(None))
    plain = BlockCall({**arguments, "temb": temb[:2]}, slice(None))
    outs = [
        QwenImage().attend_concepts(network.transformer_blocks[0], concept, keys, values, call)[0]
        for call in (doubled, plain)
    ]
    assert torch.equal(*outs)


def test_a_prompt_for_an_area_counts_there_alone() -> None:
    """Areas have two axes, the latent of a single image has three."""
    model, settings = IMAGE.make(), SETTINGS
    options = {"latent": IMAGE.empty(), "steps": 1}
    whole = recording_of(model, settings, positive=IMAGE.cond(), **options)
    upper = [*IMAGE.cond(), *IMAGE.cond(seed=8, area=(6, 8, 0, 0), strength=1.0)]
    both = recording_of(model, settings, positive=upper, **options)
    changed = (both.scores - whole.scores).abs().amax(dim=(0, 1, 2, 3)).unflatten(-1, (6, 4))
    assert (changed[3:] < CLOSE * whole.scores.abs().max()).all() and (changed[:3] > 0.1).all()


def test_mage_flow_has_reference_images_too() -> None:
    if not MAGE.in_host:
        pytest.skip("this ComfyUI has no Mage-Flow")
    positive = MAGE.cond(reference_latents=images((1, 128, 3, 5)))
    recording, expected = recorded_and_expected(MAGE, MAGE.make(), SETTINGS, positive=positive, latent=MAGE.empty())
    assert recording.scores.shape[-1] == 24 and recording.image_size == (96, 64)
    assert relative_error(recording.scores, expected) < CLOSE


def test_padding_of_the_prompt_does_not_reach_the_concepts() -> None:
    mask = torch.ones(1, 7, dtype=torch.long)
    mask[:, 4:] = 0
    options = {"positive": IMAGE.cond(attention_mask=mask), "latent": IMAGE.empty(), "steps": 1}
    recording, expected = recorded_and_expected(IMAGE, IMAGE.make(), SETTINGS, **options)
    assert relative_error(recording.scores, expected) < CLOSE


@pytest.mark.parametrize(
    "tiny", [replace(IMAGE, grid=(1, 5, 4)), replace(LAYERED, grid=(3, 5, 4))], ids=["image", "layers"]
)
def test_odd_sizes_have_a_token_for_the_rest(tiny: Any) -> None:
    latent = torch.zeros(2, 16, tiny.grid[0], 9, 7)
    recording, expected = recorded_and_expected(
        tiny, tiny.make(), SETTINGS, positive=tiny.cond(), latent=latent, steps=1
    )
    assert (recording.grid, recording.image_size, recording.covered_size) == (tiny.grid, (72, 56), (80, 64))
    assert relative_error(recording.scores, expected) < CLOSE
