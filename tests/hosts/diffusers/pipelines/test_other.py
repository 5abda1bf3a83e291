"""Pipelines of families that have no class of their own: recorded in any call, some of them generated with."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from torch import Tensor

from concept_attention.concepts import parse_concepts
from concept_attention.errors import UserError
from concept_attention.hosts.diffusers.encode import encode_concepts
from concept_attention.hosts.diffusers.loading import defaults_for
from concept_attention.hosts.diffusers.record import record
from concept_attention.hosts.diffusers.registry import family_of
from concept_attention.hosts.encoded import EncodedConcepts

from ....support.diffusers.own_blocks.catalogue import OWN_BLOCKS
from ....support.diffusers.own_blocks.twin import naive_twin
from ....support.diffusers.tiny_transformers import TEXT_WIDTH, seeded_noise
from ....support.diffusers.whole_pipelines import WHOLE, scheduler
from ....support.numbers import naive_scores, relative_error

CONCEPTS = parse_concepts("house, tree", "sky")
CLOSE = 1e-5
Capture = Callable[[Any], list[dict[str, Any]]]


def random_concepts() -> EncodedConcepts:
    return EncodedConcepts(CONCEPTS, seeded_noise(5)(3, TEXT_WIDTH), (1, 1, 1), "mean")


def make_z_image(random_pipeline: Any) -> Any:
    return WHOLE["Z-Image"].build(random_pipeline)


def make_auraflow(random_pipeline: Any) -> Any:
    return WHOLE["AuraFlow"].build(random_pipeline)


def quiet(pipeline: Any) -> Any:
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def compare(name: str, transformer: Any, recording: Any, calls: list[dict[str, Any]], rows: slice) -> None:
    """Scores of every step against the twin's, in the rows that are the prompt's."""
    embeddings = recording.embeddings
    for scores, inputs in zip(recording.scores, calls, strict=True):
        images, concepts = naive_twin(OWN_BLOCKS[name], transformer, inputs, embeddings, recording.grid[1:])
        expected = naive_scores([one[rows] for one in images], [one[rows] for one in concepts])
        assert relative_error(scores, expected) < CLOSE


def test_defaults_are_those_of_the_pipelines_own_call(random_pipeline: Any) -> None:
    turbo, auraflow = make_z_image(random_pipeline), make_auraflow(random_pipeline)
    found = [defaults_for(pipeline) for pipeline in (turbo, auraflow)]
    assert [(one.side, one.steps, one.cfg, one.max_tokens) for one in found] == [
        (1024, 9, 1, 512),
        (1024, 50, 3.5, 256),
    ]


def test_a_concept_is_encoded_as_a_prompt_and_its_own_tokens_are_pooled(random_pipeline: Any) -> None:
    """Z-Image's encoder reads causally, in a chat template of three tokens; the padding is dropped."""
    pipeline = make_z_image(random_pipeline)
    encoded = encode_concepts(pipeline, parse_concepts("home: a red house, tree"), max_tokens=24, presence=False)
    assert (encoded.token_counts, encoded.pooling) == ((3, 1), "last")
    for embedding, text, end in zip(encoded.embeddings, ("a red house", "tree"), (6, 4), strict=True):
        with torch.no_grad():
            (states,), _ = pipeline.encode_prompt([text], do_classifier_free_guidance=False, max_sequence_length=24)
        assert len(states) == end + 4  # of the template's end
        assert torch.equal(embedding, states[end - 1])


def test_unknown_words_and_texts_that_are_too_long_are_refused(random_pipeline: Any) -> None:
    pipeline = make_z_image(random_pipeline)
    with pytest.raises(UserError, match="zeppelin"):
        encode_concepts(pipeline, ["zeppelin"], max_tokens=24)
    with pytest.raises(UserError, match='Concept "house house house'):
        encode_concepts(pipeline, ["house " * 30], max_tokens=12)


def test_a_concept_of_a_t5_is_the_mean_of_its_tokens(random_pipeline: Any) -> None:
    pipeline = make_auraflow(random_pipeline)
    encoded = encode_concepts(pipeline, parse_concepts("home: a red house"), max_tokens=24, presence=False)
    with torch.no_grad():
        states = pipeline.encode_prompt(["a red house"], do_classifier_free_guidance=False, max_sequence_length=24)[0]
    assert (encoded.token_counts, encoded.pooling) == ((3,), "mean")
    assert torch.equal(encoded.embeddings[0], states[0, :3].mean(0))


def test_guidance_of_its_own_evaluations_is_not_recorded(captured: Capture) -> None:
    """Qwen-Image evaluates the prompt, then the negative prompt."""
    from diffusers import QwenImagePipeline

    family = OWN_BLOCKS["Qwen-Image"]
    pipeline = quiet(QwenImagePipeline(scheduler(), None, None, None, family.make()))
    noise, calls = seeded_noise(7), captured(pipeline.transformer)
    arguments = {
        "prompt_embeds": noise(1, 5, TEXT_WIDTH),
        "negative_prompt_embeds": noise(1, 4, TEXT_WIDTH),
        "negative_prompt_embeds_mask": torch.ones(1, 4, dtype=torch.int64),
        "true_cfg_scale": 2.0,
        "width": 64,
        "height": 48,
        "num_inference_steps": 2,
        "output_type": "latent",
    }
    plain = pipeline(generator=torch.Generator().manual_seed(3), **arguments).images
    calls.clear()
    with record(pipeline, random_concepts()) as recording:
        latents = pipeline(generator=torch.Generator().manual_seed(3), **arguments).images
    assert torch.equal(latents, plain)
    assert len(calls) == 4
    assert (recording.grid, recording.image_size, recording.architecture) == ((1, 3, 4), (48, 64), "qwen_image")
    assert recording.sigmas == pytest.approx([float(inputs["timestep"][0]) for inputs in calls[::2]])
    seen = SimpleNamespace(embeddings=random_concepts().embeddings, scores=recording.scores, grid=recording.grid)
    compare("Qwen-Image", pipeline.transformer, seen, calls[::2], slice(None))


def run_krea2(transformer: Any) -> tuple[Any, dict[str, Any]]:
    from diffusers.modular_pipelines.krea2.modular_blocks_krea2 import Krea2CoreDenoiseStep

    noise = seeded_noise(7)
    mask = torch.ones(1, 5, dtype=torch.bool)
    arguments = {
        "prompt_embeds": noise(1, 5, 2, TEXT_WIDTH // 2),
        "prompt_embeds_mask": mask,
        "negative_prompt_embeds": noise(1, 5, 2, TEXT_WIDTH // 2),
        "negative_prompt_embeds_mask": mask,
    }
    return Krea2CoreDenoiseStep().init_pipeline(), arguments


def run_flux3(transformer: Any) -> tuple[Any, dict[str, Any]]:
    from diffusers.modular_pipelines.flux3.modular_blocks_flux3 import Flux3CoreDenoiseStep

    noise = seeded_noise(7)
    arguments = {"prompt_embeds": noise(1, 5, TEXT_WIDTH), "negative_prompt_embeds": noise(1, 5, TEXT_WIDTH)}
    return Flux3CoreDenoiseStep().init_pipeline(), arguments


@pytest.mark.parametrize("name, prepare, size", [("Krea 2", run_krea2, (48, 64)), ("Flux 3", run_flux3, (48, 64))])
def test_a_modular_pipeline_is_recorded(name: str, prepare: Any, size: tuple[int, int], captured: Capture) -> None:
    transformer = OWN_BLOCKS[name].make()
    pipeline, arguments = prepare(transformer)
    pipeline.update_components(transformer=transformer, scheduler=scheduler())
    pipeline.set_progress_bar_config(disable=True)
    calls = captured(transformer)

    def run() -> Tensor:
        generator = torch.Generator().manual_seed(3)
        options = {"height": size[0], "width": size[1], "num_inference_steps": 2, "output": "latents"}
        return pipeline(generator=generator, **arguments, **options)

    plain = run()
    evaluations = len(calls)
    calls.clear()
    with record(pipeline, random_concepts()) as recording:
        latents = run()
    assert torch.equal(latents, plain)
    assert len(calls) == evaluations == 4  # the prompt's and the negative prompt's of two steps
    assert (recording.grid, recording.image_size) == ((1, 3, 4), size)
    seen = SimpleNamespace(embeddings=random_concepts().embeddings, scores=recording.scores, grid=recording.grid)
    compare(name, transformer, seen, calls[::2], slice(None))


def test_a_loop_of_ones_own_is_recorded() -> None:
    """Anything with a transformer and a scheduler stands for a pipeline."""
    family = OWN_BLOCKS["Mochi"]
    mine = SimpleNamespace(transformer=family.make(), scheduler=FlowMatchEulerDiscreteScheduler(invert_sigmas=True))
    inputs = family.inputs(mine.transformer, 1, 3, 4)

    @torch.no_grad()
    def run() -> Tensor:
        latents: Tensor = inputs["hidden_states"]
        mine.scheduler.set_timesteps(2)
        for timestep in mine.scheduler.timesteps:
            made = mine.transformer(**{**inputs, "hidden_states": latents, "timestep": timestep.expand(1)})[0]
            latents = mine.scheduler.step(made, timestep, latents).prev_sample
        return latents

    plain = run()
    with record(mine, random_concepts()) as recording:
        assert torch.equal(run(), plain)
    assert (recording.grid, recording.frame_counts, recording.steps) == ((2, 3, 4), (1, 6), (0, 1))
    assert recording.sigmas[0] == pytest.approx(1)  # this scheduler counts from noise to image
    images, concepts = naive_twin(
        family,
        mine.transformer,
        {**inputs, "timestep": mine.scheduler.timesteps[:1]},
        random_concepts().embeddings,
        (3, 4),
    )
    assert relative_error(recording.scores[0], naive_scores(images, concepts)) < CLOSE


@pytest.mark.parametrize(
    "name, rows",
    [
        ("JoyImage Edit Plus", slice(-2, None)),
        ("Z-Image Omni", slice(0, 2)),
        ("HunyuanVideo FramePack", slice(-4, None)),
    ],
)
def test_the_prompts_rows_of_a_guided_batch(name: str, rows: slice) -> None:
    """JoyImage Edit Plus puts the negative prompts first, Z-Image last; FramePack evaluates them by themselves."""
    mine = SimpleNamespace(transformer=OWN_BLOCKS[name].make(), guidance_scale=4.0)
    assert family_of(mine).prompt_rows(mine, 4) == rows


def test_what_cannot_be_recorded_is_said() -> None:
    family = OWN_BLOCKS["JoyImage Edit Plus"]
    mine = SimpleNamespace(transformer=family.make(), scheduler=scheduler())
    inputs = family.inputs(mine.transformer, 2, 2, 2)
    shapes = [inputs["shape_list"][0], [(1, 2, 2), (1, 2, 1)]]
    said = "Nothing was recorded: the images of the batch have reference images of other sizes: make them one by one"
    with pytest.raises(UserError, match=said), record(mine, random_concepts()), torch.no_grad():
        mine.transformer(**{**inputs, "shape_list": shapes})


def test_a_modular_pipeline_encodes_concepts_by_its_own_step(random_pipeline: Any) -> None:
    from diffusers.modular_pipelines.z_image.modular_blocks_z_image import ZImageAutoBlocks

    classic = make_z_image(random_pipeline)
    pipeline = ZImageAutoBlocks().init_pipeline()
    pipeline.update_components(**classic.components)
    pipeline.set_progress_bar_config(disable=True)
    expected = encode_concepts(classic, CONCEPTS, max_tokens=512)
    encoded = encode_concepts(pipeline, CONCEPTS, max_tokens=512)
    assert torch.equal(encoded.embeddings, expected.embeddings)
    assert encoded.pooling == expected.pooling == "last"

    def run() -> Tensor:
        generator = torch.Generator().manual_seed(3)
        options = {"height": 48, "width": 64, "num_inference_steps": 2, "output": "latents"}
        return pipeline(prompt="a red house", generator=generator, **options)

    plain = run()
    with record(pipeline, ["house", "tree"]) as recording:
        assert torch.equal(run(), plain)
    assert recording.scores.shape == (2, 3, 1, 2, 12)
    assert recording.presence is not None
