"""What is particular to SD3: every layer by default, its own mode, a second attention in some blocks, odd sizes."""

from __future__ import annotations

import dataclasses
import types
from typing import Any

import pytest
import torch
from comfy.patcher_extension import WrappersMP

from concept_attention.errors import UserError
from concept_attention.heatmaps.heatmaps import make_heatmaps
from concept_attention.hosts.comfyui.adapters.sd3 import SD3
from concept_attention.hosts.comfyui.analysis import analyze
from concept_attention.hosts.comfyui.engine.settings import Settings

from ....support.comfyui.architectures.oracle import recorded_and_expected
from ....support.comfyui.architectures.sd3 import VARIANTS
from ....support.comfyui.recording_spy import make_encoded, recording_of, sample_and_record
from ....support.comfyui.tiny import sample
from ....support.numbers import relative_error

CLOSE = 1e-5
MEDIUM, LARGE, DUAL = VARIANTS
SETTINGS = Settings(make_encoded(width=LARGE.text_width))


@pytest.mark.parametrize("depth", [24, 38])
def test_all_layers_of_a_full_size_model_are_the_default(depth: int) -> None:
    network = types.SimpleNamespace(
        joint_blocks=range(depth),
        patch_size=2,
        pos_embed_max_size=192,
        context_embedder=types.SimpleNamespace(in_features=4096),
    )
    found = SD3().describe(types.SimpleNamespace(diffusion_model=network))
    assert (found.default_layers, found.text_width, found.largest_side) == (tuple(range(depth)), 4096, 192)


def test_shares_follow_the_authors_rule_for_sd3() -> None:
    """Concept vectors of length 1, a softmax over the concepts of every layer, then the mean of all layers."""
    recording, expected = recorded_and_expected(
        LARGE, LARGE.make(), SETTINGS, positive=LARGE.cond(), latent=LARGE.empty(2), steps=1
    )
    assert recording.mode == "sd3" and recording.default_layers == (0, 1, 2)
    unit = expected[0] / recording.norms[0][..., None]
    shares = torch.softmax(unit, dim=2).mean(0).unflatten(-1, (6, 4))
    assert relative_error(make_heatmaps(recording).values, shares) < CLOSE


def test_the_images_attention_to_itself_is_not_taken_for_the_joint_one() -> None:
    """3.5 medium has it in some blocks: what it gives reaches the concepts in the next block, through the image."""
    model, other = DUAL.make(), DUAL.make()
    with torch.no_grad():
        other.model.diffusion_model.joint_blocks[1].x_block.attn2.proj.weight.mul_(2.0)
    options = {"positive": DUAL.cond(), "latent": DUAL.empty(), "steps": 1}
    one, two = (recording_of(each, SETTINGS, **options).scores for each in (model, other))
    assert torch.equal(two[:, :2], one[:, :2])
    assert relative_error(two[:, 2], one[:, 2]) > 100 * CLOSE


@pytest.mark.parametrize("mode", ["auto", "paper"])
def test_context_tokens_go_through_the_model_and_are_not_recorded(mode: str) -> None:
    """The start token of a line that CLIP has read: the concepts attend to it, as to each other."""
    everything = make_encoded(count=4, width=LARGE.text_width)
    three = dataclasses.replace(
        everything,
        concepts=everything.concepts[:3],
        embeddings=everything.embeddings[:3],
        token_counts=(1, 1, 1),
        context_tokens=everything.embeddings[3:],
    )
    options = {"positive": LARGE.cond(), "latent": LARGE.empty(2), "steps": 1}
    found, full = (recording_of(LARGE.make(), Settings(one, mode=mode), **options) for one in (three, everything))
    assert found.scores.shape == (1, 3, 2, 3, 24)
    if mode == "auto":  # in the other mode the concepts are normalised over all that are recorded
        assert relative_error(found.scores, full.scores[:, :, :, :3]) < CLOSE
    assert relative_error(found.norms, full.norms[..., :3]) < CLOSE
    alone = recording_of(LARGE.make(), Settings(make_encoded(count=3, width=LARGE.text_width), mode=mode), **options)
    assert relative_error(found.norms, alone.norms) > 100 * CLOSE


def test_pads_are_told_from_context_tokens() -> None:
    """The mode with pad tokens puts them behind everything else."""
    encoded = dataclasses.replace(SETTINGS.encoded, context_tokens=torch.ones(1, LARGE.text_width))
    padded = dataclasses.replace(
        SETTINGS.encoded,
        context_tokens=torch.cat([torch.ones(1, LARGE.text_width), torch.zeros(223, LARGE.text_width)]),
    )
    options = {"positive": LARGE.cond(), "latent": LARGE.empty(), "steps": 1}
    found = recording_of(LARGE.make(), Settings(encoded, mode="cogvideox"), **options)
    expected = recording_of(LARGE.make(), Settings(padded, mode="flux"), **options)
    assert found.pad_count == 223
    assert relative_error(found.scores, expected.scores) < CLOSE


def test_a_block_that_another_pack_calls_gives_the_same() -> None:
    """ComfyUI then runs it through torch.utils.checkpoint, which it does not do by itself."""
    model, options = DUAL.make(), {"positive": DUAL.cond(), "latent": DUAL.empty(2), "steps": 1}
    wrapped = model.clone()
    for layer in (0, 2):
        wrapped.set_model_patch_replace(lambda args, extra: extra["original_block"](args), "dit", "double_block", layer)
    latent, result = sample_and_record(wrapped, SETTINGS, **options)
    assert torch.equal(latent, sample(model, **options)) and result.recording is not None
    assert torch.equal(result.recording.scores, recording_of(model, SETTINGS, **options).scores)


def test_an_existing_image_is_analysed_with_the_prompts_pooled_text() -> None:
    """As in the authors' code for SD3; that for Flux 1 leaves it out, and so does the analysis there."""
    model = LARGE.make()
    image = {"samples": torch.randn(LARGE.empty().shape, generator=torch.Generator().manual_seed(6))}
    seen = []

    def spy(executor: Any, *args: Any, **kwargs: Any) -> Any:
        seen.append(kwargs["y"])
        return executor(*args, **kwargs)

    model.add_wrapper_with_key(WrappersMP.APPLY_MODEL, "spy", spy)
    positive = LARGE.cond()
    analyze(model, SETTINGS, image, positive)
    assert torch.equal(seen[0], positive[0][1]["pooled_output"])


def test_odd_sizes_are_padded_as_the_model_pads_them() -> None:
    odd = dataclasses.replace(MEDIUM, grid=(1, 5, 4))
    latent = torch.zeros(2, 16, 9, 7)
    recording, expected = recorded_and_expected(odd, odd.make(), SETTINGS, positive=odd.cond(), latent=latent, steps=1)
    assert recording.grid == (1, 5, 4)
    assert relative_error(recording.scores, expected) < CLOSE


def test_an_image_beyond_the_table_of_positions_is_refused() -> None:
    analyze(MEDIUM.make(), SETTINGS, {"samples": torch.ones(1, 16, 8, 32)}, MEDIUM.cond())
    for latent in (torch.ones(1, 16, 8, 33), torch.ones(1, 16, 8, 34)):
        with pytest.raises(UserError, match=r"up to 256 x 256 pixels, got 272 x 64 \(width x height\)"):
            analyze(MEDIUM.make(), SETTINGS, {"samples": latent}, MEDIUM.cond())


def test_a_model_whose_words_read_each_other_once_more_is_not_matched() -> None:
    config = {**MEDIUM.config, "context_processor_layers": 1, "context_size": 48}
    assert not SD3().matches(dataclasses.replace(MEDIUM, config=config).make().model)
