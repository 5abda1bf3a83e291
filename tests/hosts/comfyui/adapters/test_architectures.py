"""What holds for every architecture that the ComfyUI at hand has.

Images are not square, batches are of two, and guidance is on where it is not said otherwise.
"""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from comfy.patcher_extension import WrappersMP
from torch import Tensor

from concept_attention.hosts.comfyui.adapters.block_call import BlockCall
from concept_attention.hosts.comfyui.adapters.registry import adapter_for
from concept_attention.hosts.comfyui.engine.settings import Settings
from concept_attention.hosts.comfyui.engine.stream import ConceptStream

from ....support.comfyui.architectures.catalogue import TINY_ARCHITECTURES
from ....support.comfyui.architectures.oracle import observing, recorded_and_expected
from ....support.comfyui.architectures.tiny_architecture import TinyArchitecture
from ....support.comfyui.recording_spy import footprint, make_encoded, recording_model, recording_of, sample_and_record
from ....support.comfyui.tiny import sample
from ....support.numbers import relative_error

CLOSE = 1e-5


@pytest.fixture(params=TINY_ARCHITECTURES, ids=[tiny.name for tiny in TINY_ARCHITECTURES])
def tiny(request: pytest.FixtureRequest) -> TinyArchitecture:
    found: TinyArchitecture = request.param
    if not found.in_host:
        pytest.skip(f"this ComfyUI has no {found.kind}")
    return found


def settings_of(tiny: TinyArchitecture, **options: Any) -> Settings:
    return Settings(make_encoded(width=tiny.text_width), **options)


def options_of(tiny: TinyArchitecture, batch: int = 2, **options: Any) -> dict[str, Any]:
    return {
        "positive": tiny.cond(),
        "negative": tiny.cond(tokens=5, seed=3),
        "latent": tiny.empty(batch),
        "steps": 2,
        **options,
    }


def parts(latent: Any) -> list[Tensor]:
    """The latents that were sampled as one."""
    return list(latent.unbind()) if latent.is_nested else [latent]


def test_the_latent_is_bit_identical_and_nothing_is_left_behind(tiny: TinyArchitecture) -> None:
    model = tiny.make()
    plain = sample(model, **options_of(tiny, cfg=4.0))
    assert all(torch.isfinite(part).all() for part in parts(plain))
    before = footprint(model)
    observed, result = sample_and_record(model, settings_of(tiny), **options_of(tiny, cfg=4.0))
    assert all(map(torch.equal, parts(observed), parts(plain))) and footprint(model) == before
    assert result.recording is not None, result.reason
    assert result.recording.scores.shape[:2] == (2, len(list(tiny.adapter.joint_blocks(model.model.diffusion_model))))
    assert "troubles" not in result.recording.metadata


def test_the_model_is_known_by_its_adapter(tiny: TinyArchitecture) -> None:
    model = tiny.make()
    found = tiny.adapter.describe(model.model)
    assert type(adapter_for(model.model)) is type(tiny.adapter)
    assert (found.name, found.text_width) == (tiny.architecture, tiny.text_width)
    recording = recording_of(model, settings_of(tiny), **options_of(tiny, batch=1, steps=1))
    assert (recording.grid, recording.batch, recording.architecture) == (tiny.grid, 1, tiny.architecture)


def test_scores_are_those_of_blocks_that_run_on_the_concepts(tiny: TinyArchitecture) -> None:
    recording, expected = recorded_and_expected(tiny, tiny.make(), settings_of(tiny), **options_of(tiny))
    assert relative_error(recording.scores, expected) < CLOSE


def test_a_forward_pass_that_ends_after_the_last_kept_block_says_the_same(tiny: TinyArchitecture) -> None:
    model, settings = tiny.make(), settings_of(tiny, layers="0-1")
    finished, ended = (
        sample_and_record(model, settings, stop_after_last_layer=stop, **options_of(tiny, steps=1))[1].recording
        for stop in (False, True)
    )
    assert finished is not None and ended is not None
    assert torch.equal(finished.scores, ended.scores)


def test_half_precision_gives_what_its_own_blocks_give(tiny: TinyArchitecture) -> None:
    """In float32, of which a score in half precision has a third of the digits."""
    model = tiny.make(dtype=torch.bfloat16)
    recording, expected = recorded_and_expected(tiny, model, settings_of(tiny), **options_of(tiny, batch=1, steps=1))
    assert recording.scores.dtype == torch.float32 and expected.dtype == torch.bfloat16
    assert relative_error(recording.scores, expected) < 0.02


def test_guidance_does_not_change_what_the_positive_prompt_says(tiny: TinyArchitecture) -> None:
    """Whether the negative prompt is evaluated in the same batch, which needs the same length, or by itself."""
    model, settings = tiny.make(), settings_of(tiny)
    alone = recording_of(model, settings, **options_of(tiny, steps=1))
    for length in (7, 5):
        negative = tiny.cond(tokens=length, seed=3)
        guided = recording_of(model, settings, **options_of(tiny, steps=1, cfg=4.0, negative=negative))
        assert relative_error(guided.scores, alone.scores) < CLOSE


@torch.no_grad()
def test_the_prompts_own_tokens_as_concepts_stay_the_prompt(tiny: TinyArchitecture) -> None:
    """Concepts that start as the prompt's tokens, each at its own position, are its text stream in every block."""
    model, seen = tiny.make(), []
    prompt = tiny.cond()

    class PromptAsConcepts(type(tiny.as_prompt or tiny.adapter)):  # type: ignore[misc]
        def project_concepts(self, network: Any, embeddings: Tensor, call: BlockCall) -> Tensor:
            return tiny.text_in(call.arguments)[call.rows].clone()

    def ride(executor: Any, *args: Any, **kwargs: Any) -> Any:
        network = executor.class_obj.diffusion_model
        blocks = list(tiny.adapter.joint_blocks(network))
        outs: list[Tensor] = []
        stream = ConceptStream(
            PromptAsConcepts(),
            network,
            prompt[0][0][0],
            slice(None),
            math.prod(tiny.grid),
            lambda _, image, concept: outs.append(concept.clone()),
            len(blocks) - 1,
            positions=slice(0, None),
        )
        with observing(network, blocks) as passed, stream:
            output = executor(*args, **kwargs)
        assert not stream.problem
        for arguments, attended, concept in zip(passed.arguments, passed.attended, outs, strict=True):
            length = tiny.text_in(arguments).shape[1]
            seen.append((attended[:, -length:] if tiny.image_first else attended[:, :length], concept))
        return output

    clone = model.clone()
    clone.add_wrapper_with_key(WrappersMP.APPLY_MODEL, "ride", ride)
    sample(clone, positive=prompt, latent=tiny.empty(), steps=1)
    assert seen
    for text_out, concept_out in seen:
        assert relative_error(concept_out, text_out) < CLOSE


def test_an_error_in_a_block_leaves_nothing_behind(tiny: TinyArchitecture) -> None:
    model = tiny.make()
    blocks = list(tiny.adapter.joint_blocks(model.model.diffusion_model))
    watched = recording_model(model, [], settings_of(tiny))
    before = footprint(watched)

    def fail(module: Any, args: Any, output: Any) -> None:
        raise KeyboardInterrupt

    handle = blocks[-1].register_forward_hook(fail)
    with pytest.raises(KeyboardInterrupt), torch.inference_mode():
        sample(watched, **options_of(tiny, cfg=4.0))
    handle.remove()
    assert footprint(watched) == before
