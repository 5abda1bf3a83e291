"""Pipelines of families whose concepts are read as keys, recorded in any call."""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from diffusers import EulerDiscreteScheduler, FlowMatchEulerDiscreteScheduler
from torch import Tensor

from concept_attention.concepts import parse_concepts
from concept_attention.errors import UserError
from concept_attention.hosts.diffusers.analysis import analyze
from concept_attention.hosts.diffusers.encode import encode_concepts
from concept_attention.hosts.diffusers.generation import generate
from concept_attention.hosts.diffusers.loading import load_pipeline
from concept_attention.hosts.diffusers.record import record
from concept_attention.hosts.encoded import ConceptText, EncodedConcepts

from ....support.diffusers.cross_attention.catalogue import CROSS
from ....support.diffusers.cross_attention.family import TEXT_WIDTH, CrossFamily
from ....support.diffusers.small_pipelines import make_clip, make_vae
from ....support.diffusers.tiny_parts import make_language_model, make_words, remade
from ....support.diffusers.tiny_transformers import fill, seeded_noise
from ....support.diffusers.whole_cross import WHOLE_CROSS
from ....support.numbers import relative_error

CLOSE = 1e-5
Capture = Callable[[Any], list[dict[str, Any]]]


def words_of(states: Tensor) -> EncodedConcepts:
    """Every token of a prompt, (T, E), as a concept; the embeddings would give other maps."""
    names = parse_concepts([f"thing {n}" for n in range(len(states))])
    texts = tuple(ConceptText(states, (n, n + 1)) for n in range(len(states)))
    return EncodedConcepts(names, states + 1, (1,) * len(states), "mean", texts=texts)


def expected_maps(
    family: CrossFamily, transformer: Any, inputs: dict[str, Any], grid: tuple[int, int], tokens: int
) -> Tensor:
    """Attention maps of the first row's words in one evaluation, (L, B, C, N)."""
    with family.observed(*grid, tokens) as calls, torch.no_grad():
        transformer(**inputs)
    return torch.stack([attended.weights(range(tokens)).mean(1).transpose(1, 2) for attended in calls])


@pytest.mark.parametrize("cached", [False, True])
def test_qwen_image_21_is_recorded_with_its_cache_and_without(cached: bool, captured: Capture) -> None:
    """With the cache on, the text is computed in the first step only; its keys are in every step's attention."""
    from diffusers.modular_pipelines.qwenimage21.modular_blocks_qwenimage21 import QwenImage21CoreDenoiseStep

    family = CROSS["Qwen-Image 2.1"]
    transformer, noise = family.make(), seeded_noise(7)
    pipeline = QwenImage21CoreDenoiseStep().init_pipeline()
    pipeline.update_components(transformer=transformer, scheduler=FlowMatchEulerDiscreteScheduler())
    pipeline.guider.guidance_scale = 4.0
    pipeline.set_progress_bar_config(disable=True)
    prompt, negative = noise(1, 7, TEXT_WIDTH), noise(1, 5, TEXT_WIDTH)
    calls = captured(transformer)

    def run() -> Tensor:
        return pipeline(
            generator=torch.Generator().manual_seed(3),
            prompt_embeds=prompt,
            prompt_embeds_mask=torch.ones(1, 7, dtype=torch.bool),
            negative_prompt_embeds=negative,
            negative_prompt_embeds_mask=torch.ones(1, 5, dtype=torch.bool),
            image_pad_mask=torch.zeros(1, 7, dtype=torch.bool),
            negative_image_pad_mask=torch.zeros(1, 5, dtype=torch.bool),
            height=64,
            width=96,
            num_inference_steps=3,
            use_kv_cache=cached,
            output="latents",
        )

    plain = run()
    calls.clear()
    with record(pipeline, words_of(prompt[0])) as recording:
        latents = run()
    assert torch.equal(latents, plain)
    assert [one.get("kv_cache_mode") for one in calls] == ["extract"] * 2 + ["cached"] * 4 if cached else [None] * 6
    assert (recording.grid, recording.image_size, recording.reading) == ((1, 4, 6), (64, 96), "cross")
    assert "troubles" not in recording.metadata and recording.scores.shape == (3, 3, 1, 7, 24)
    for step in range(3):
        inputs = {**calls[2 * step], "kv_cache": None, "kv_cache_mode": None}
        expected = expected_maps(family, transformer, inputs, (4, 6), 7)
        assert relative_error(recording.scores[step].exp(), expected) < CLOSE
    needs = pytest.raises(UserError, match="Mode flux needs joint blocks.*Choose auto, cross or gram")
    with needs, record(pipeline, words_of(prompt[0]), mode="flux"):
        pass


class Processor:
    """What Qwen-Image 2.1's pipeline asks of its processor."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer

    def __call__(self, text: list[str], padding_side: str, **options: Any) -> Any:
        self.tokenizer.padding_side = padding_side
        return self.tokenizer(text, **options)

    def apply_chat_template(self, *_: Any, **__: Any) -> list[list[int]]:
        return [self.tokenizer("<|im_start|> user <|im_end|>").input_ids]


@pytest.fixture(scope="module")
def qwen_image21(random_pipeline: Any) -> Any:
    from diffusers import AutoencoderKLQwenImage21, QwenImage21Pipeline

    words = make_words(random_pipeline)
    encoder = make_language_model("Qwen3ForCausalLM", width=TEXT_WIDTH, words=len(words.get_vocab()))
    vae = AutoencoderKLQwenImage21(
        base_dim=4,
        decoder_base_dim=4,
        z_dim=16,
        dim_mult=[1] * 5,
        num_res_blocks=1,
        latents_mean=[channel / 20 for channel in range(16)],
        latents_std=[1 - channel / 40 for channel in range(16)],
    )
    scheduler, transformer = FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True), CROSS["Qwen-Image 2.1"].make()
    pipeline = QwenImage21Pipeline(scheduler, fill(vae), encoder, Processor(words), transformer)
    pipeline.prompt_template_t2i = "<|im_start|> user <|im_end|> <|im_start|> user {} <|im_end|> <|im_start|> assistant"
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.mark.parametrize("cfg", [1.0, 3.0])
def test_qwen_image_21_generates_with_its_cache_and_a_prompt_gets_its_own_maps(
    qwen_image21: Any, cfg: float, captured: Capture
) -> None:
    family, pipeline = CROSS["Qwen-Image 2.1"], qwen_image21
    calls = captured(pipeline.transformer)
    size = {"width": 96, "height": 64}
    found = generate(pipeline, "house", ["house", "sky"], **size, steps=3, seed=3, cfg=cfg)
    assert [one["kv_cache_mode"] for one in calls[:: 1 if cfg == 1 else 2]] == ["extract", "cached", "cached"]
    first = {**calls[0], "kv_cache": None, "kv_cache_mode": None}
    plain = pipeline(
        "house",
        **({} if cfg == 1 else {"negative_prompt": "", "true_cfg_scale": cfg}),
        **size,
        num_inference_steps=3,
        generator=torch.Generator().manual_seed(3),
    )
    assert found.images[0].tobytes() == plain.images[0].tobytes()
    recording = found.recording
    assert (recording.grid, recording.image_size, recording.steps) == ((1, 4, 6), (64, 96), (0, 1, 2))
    expected = expected_maps(
        dataclasses.replace(family, columns=list(range(6))), pipeline.transformer, first, (4, 6), 6
    )
    assert relative_error(recording.scores[0, :, :, 0].exp(), expected[:, :, 2]) < CLOSE  # behind two of the template


def test_qwen_image_21_looks_at_an_image(qwen_image21: Any, captured: Capture) -> None:
    from PIL import Image

    pipeline, calls = qwen_image21, captured(qwen_image21.transformer)
    pixels = torch.randint(0, 256, (64, 96, 3), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    options: dict[str, Any] = {"prompt": "a tree", "noise": 0.3, "seed": 5, "width": 96, "height": 64}
    found = analyze(pipeline, Image.fromarray(pixels.numpy()), ["house", "sky"], **options)
    config, shown = pipeline.vae.config, pixels.permute(2, 0, 1)[None, :, None] / 127.5 - 1
    with torch.no_grad():
        latents = pipeline.vae.encode(torch.cat([shown, torch.ones(1, 1, 1, 64, 96)], dim=1)).latent_dist.mean
    mean, deviation = (torch.tensor(one).view(1, 16, 1, 1, 1) for one in (config.latents_mean, config.latents_std))
    latents = (latents - mean) / deviation
    noise = torch.randn(latents[0].shape, generator=torch.Generator().manual_seed(5))
    tokens = (0.7 * latents + 0.3 * noise).flatten(2).transpose(1, 2)
    assert relative_error(calls[-1]["hidden_states"], tokens) < CLOSE
    assert calls[-1]["timestep"].tolist() == pytest.approx([0.3])
    assert (found.grid, found.sigmas, found.image_size) == ((1, 4, 6), (0.3,), (64, 96))
    with pytest.raises(UserError, match="makes no pictures of 80 x 64 pixels, but 64 x 64"):
        generate(pipeline, "house", ["house"], width=80, height=64, steps=1)


def wan_22(random_pipeline: Any) -> Any:
    """With a network for noise levels of 0.8 and more, and one for the others."""
    pipeline = WHOLE_CROSS["Wan"].build(random_pipeline)
    pipeline.register_modules(transformer_2=fill(copy.deepcopy(pipeline.transformer), seed=1))
    pipeline.register_to_config(boundary_ratio=0.8)
    return pipeline


def test_wan_22_generates_with_both_of_its_networks(random_pipeline: Any, captured: Capture) -> None:
    """Guidance is an evaluation of its own."""
    pipeline = wan_22(random_pipeline)
    networks = pipeline.transformer, pipeline.transformer_2
    calls = [captured(network) for network in networks]
    options: dict[str, Any] = {"width": 96, "height": 64}
    found = generate(pipeline, "house", ["house", "sky"], **options, frames=9, steps=4, cfg=4.0, seed=3, max_tokens=32)
    first = [dict(one[0]) for one in calls]
    assert [len(one) for one in calls] == [4, 4]
    plain = pipeline(
        "house",
        negative_prompt="",
        **options,
        num_frames=9,
        num_inference_steps=4,
        guidance_scale=4.0,
        max_sequence_length=32,
        generator=torch.Generator().manual_seed(3),
        output_type="pil",
    ).frames
    assert all(one.tobytes() == other.tobytes() for one, other in zip(found.videos[0], plain[0], strict=True))
    recording = found.recording
    assert (recording.grid, recording.image_size, recording.frame_counts) == ((3, 4, 6), (64, 96), (1, 4, 4))
    assert recording.sigmas == pytest.approx(pipeline.scheduler.sigmas[:4].tolist())
    for step, network, inputs in zip((0, 2), networks, first, strict=True):
        expected = expected_maps(CROSS["Wan"], network, inputs, (4, 6), 32)
        assert relative_error(recording.scores[step, :, :, 0].exp(), expected[:, :, 0]) < CLOSE


@pytest.mark.parametrize("noise", [0.85, 0.3])
def test_wan_22_looks_at_videos_with_the_network_for_their_noise(
    noise: float, random_pipeline: Any, captured: Capture
) -> None:
    from PIL import Image

    pipeline = wan_22(random_pipeline)
    much, little = (captured(network) for network in (pipeline.transformer, pipeline.transformer_2))
    frames = [Image.new("RGB", (96, 64), (50 * number, 0, 0)) for number in range(5)]
    found = analyze(pipeline, frames, ["house"], prompt="a tree", noise=noise, width=96, height=64, max_tokens=32)
    used, network = (much, pipeline.transformer) if noise > 0.8 else (little, pipeline.transformer_2)
    assert [len(much), len(little)] == [noise > 0.8, noise < 0.8]
    assert used[0]["timestep"].tolist() == pytest.approx([1000 * noise])
    with record(pipeline, ["house"], max_tokens=32) as recording, torch.no_grad():
        pipeline.scheduler.set_timesteps(1)
        made = network(**used[0])[0]
        pipeline.scheduler.step(made, pipeline.scheduler.timesteps[0], used[0]["hidden_states"])
    assert relative_error(found.scores, recording.scores) < CLOSE


def test_ltx_2_looks_at_videos_without_sound(random_pipeline: Any, captured: Capture) -> None:
    """Its first evaluation has the sound's noise; what is shown does not attend to it."""
    from PIL import Image

    pipeline = WHOLE_CROSS["LTX-2.3"].build(random_pipeline)
    calls, picture = captured(pipeline.transformer), Image.new("RGB", (96, 64), "red")
    options: dict[str, Any] = {"noise": 0.3, "width": 96, "height": 64, "max_tokens": 32}
    found = analyze(pipeline, picture, ["house"], **options)
    (shown,) = calls
    assert shown["isolate_modalities"] and shown["sigma"].tolist() == shown["timestep"].tolist() == pytest.approx([300])
    with torch.no_grad():
        made = [
            pipeline.transformer(**{**shown, "audio_hidden_states": sound})[0]
            for sound in (shown["audio_hidden_states"], torch.zeros_like(shown["audio_hidden_states"]))
        ]
    assert torch.equal(*made) and found.grid == (1, 2, 3)


def test_sana_sprint_is_recorded_in_its_own_pipeline(random_pipeline: Any, captured: Capture) -> None:
    """Its guidance is embedded, so that all rows are the prompts'; its timesteps are angles."""
    from diffusers import SanaSprintPipeline, SCMScheduler

    plain = WHOLE_CROSS["Sana"].build(random_pipeline)
    transformer = remade(plain.transformer, guidance_embeds=True, qk_norm="rms_norm_across_heads")
    parts = plain.tokenizer, plain.text_encoder, plain.vae, transformer
    pipeline = SanaSprintPipeline(*parts, SCMScheduler(prediction_type="trigflow", sigma_data=0.5))
    pipeline.set_progress_bar_config(disable=True)

    def run() -> Tensor:
        return pipeline(
            ["house", "sky"],
            width=96,
            height=64,
            use_resolution_binning=False,
            max_sequence_length=32,
            generator=torch.Generator().manual_seed(3),
            output_type="latent",
        ).images

    latents, calls = run(), captured(transformer)
    with record(pipeline, ["house", "sky"], max_tokens=32) as recording:
        assert torch.equal(run(), latents)
    assert (recording.scores.shape, recording.grid) == ((2, 3, 2, 2, 6), (1, 2, 3))
    assert recording.sigmas == pytest.approx([math.sin(1.5708), math.sin(1.3)], abs=1e-4)
    expected = expected_maps(CROSS["Sana"], transformer, calls[0], (2, 3), 32)
    assert relative_error(recording.scores[0, :, 0, 0].exp(), expected[:, 0, 2]) < CLOSE


def test_allegro_is_recorded_in_its_own_pipeline(random_pipeline: Any, captured: Capture) -> None:
    """Every latent frame stands for four; its autoencoder only takes whole tiles, so that it is recorded only."""
    from diffusers import AllegroPipeline, DPMSolverMultistepScheduler

    transformer = remade(CROSS["Allegro"].make(), caption_channels=random_pipeline.text_encoder_2.config.d_model)
    text = random_pipeline.tokenizer_2, random_pipeline.text_encoder_2
    pipeline = AllegroPipeline(*text, None, transformer, DPMSolverMultistepScheduler())
    pipeline.set_progress_bar_config(disable=True)

    def run() -> Tensor:
        return pipeline(
            "house",
            width=96,
            height=64,
            num_frames=8,
            num_inference_steps=2,
            guidance_scale=3.0,
            max_sequence_length=32,
            generator=torch.Generator().manual_seed(3),
            output_type="latent",
        ).frames

    latents, calls = run(), captured(transformer)
    with record(pipeline, ["house", "sky"], max_tokens=32) as recording:
        assert torch.equal(run(), latents)
    assert (recording.grid, recording.frame_counts, recording.batch) == ((2, 4, 6), (4, 4), 1)
    family = dataclasses.replace(CROSS["Allegro"], frames=2)
    rows = {"hidden_states", "encoder_hidden_states", "encoder_attention_mask", "timestep"}
    prompt = {name: one[1:] if name in rows else one for name, one in calls[0].items()}
    expected = expected_maps(family, transformer, prompt, (4, 6), 32)
    assert relative_error(recording.scores[0, :, :, 0].exp(), expected[:, :, 0]) < CLOSE
    with pytest.raises(UserError, match="takes more than prompts"):
        generate(pipeline, "house", ["house"])


def test_concepts_that_are_keys_only_have_no_null_words(random_pipeline: Any) -> None:
    """Presence is not read there, and each word would be a pass of the text encoder."""
    pipeline, passes = WHOLE_CROSS["Wan"].build(random_pipeline), list[int]()
    handle = pipeline.text_encoder.register_forward_pre_hook(lambda *_: passes.append(1))
    encoded = encode_concepts(pipeline, ["house", "sky"], max_tokens=32)
    handle.remove()
    assert (
        encoded.null_words is None and len(passes) == 5
    )  # the concepts, and three texts that show what is a text's own


def test_prompts_of_ltx_2_have_so_many_tokens(random_pipeline: Any) -> None:
    pipeline = WHOLE_CROSS["LTX-2"].build(random_pipeline)
    with pytest.raises(UserError, match="^Prompts of LTX-2 have a multiple of 8 tokens, got max_tokens 20"):
        encode_concepts(pipeline, ["house"], max_tokens=20)


def test_sparse_attention_of_kandinsky_5_is_refused(random_pipeline: Any) -> None:
    pipeline = WHOLE_CROSS["Kandinsky 5"].build(random_pipeline)
    pipeline.transformer.register_to_config(attention_type="nabla")
    with pytest.raises(UserError, match="sparse attention .NABLA.*Choose a model for videos of 5 seconds"):
        generate(pipeline, "a house", ["house"])


def test_latte_makes_as_many_frames_as_it_was_made_for(random_pipeline: Any) -> None:
    pipeline = WHOLE_CROSS["Latte"].build(random_pipeline)
    with pytest.raises(UserError, match=r"^Latte makes videos of 3 frames, or of one, got 5\. Ask for that many"):
        generate(pipeline, "a house", ["house"], width=64, height=48, frames=5)


def test_a_scheduler_that_is_copied_meanwhile_is_not_followed() -> None:
    """LTX-2 has a copy of its scheduler for the sound."""
    family = CROSS["LTX-2"]
    mine = SimpleNamespace(transformer=family.make(), scheduler=FlowMatchEulerDiscreteScheduler())
    inputs = family.inputs(mine.transformer, 1, 2, 4)

    @torch.no_grad()
    def run() -> tuple[Tensor, Tensor]:
        latents, sound = inputs["hidden_states"], inputs["audio_hidden_states"]
        other = copy.deepcopy(mine.scheduler)
        for one in (other, mine.scheduler):
            one.set_timesteps(2)
        for timestep in mine.scheduler.timesteps:
            parts = {"hidden_states": latents, "audio_hidden_states": sound, "timestep": timestep.expand(1)}
            video, audio = mine.transformer(**{**inputs, **parts})
            latents = mine.scheduler.step(video, timestep, latents, return_dict=False)[0]
            sound = other.step(audio, timestep, sound, return_dict=False)[0]
        return latents, sound

    plain = run()
    texts = family.texts(inputs)
    names = parse_concepts([f"thing {n}" for n in range(len(texts))])
    encoded = EncodedConcepts(names, texts[0].states[: len(texts)], (1,) * len(texts), "mean", texts=tuple(texts))
    with record(mine, encoded) as recording:
        assert all(map(torch.equal, run(), plain))
    assert recording.steps == (0, 1) and recording.grid == (3, 2, 4)


@pytest.mark.parametrize("kind", ["EulerDiscreteScheduler", "DPMSolverMultistepScheduler", "DDIMScheduler"])
def test_noise_levels_of_stable_diffusion_are_the_schedules_own(kind: str) -> None:
    import diffusers

    pipeline = load_pipeline("tiny-sd", device="cpu")
    pipeline.set_progress_bar_config(disable=True)
    pipeline.scheduler = getattr(diffusers, kind).from_config(pipeline.scheduler.config)
    recording = generate(pipeline, "a boat on water", ["boat", "water"], steps=3, cfg=2.0).recording
    signal = pipeline.scheduler.alphas_cumprod[pipeline.scheduler.timesteps.long()]
    assert recording.sigmas == pytest.approx(((1 - signal) ** 0.5).tolist(), abs=2e-3)


def test_stable_diffusion_is_recorded_from_an_image_and_unchanged() -> None:
    from diffusers import StableDiffusionImg2ImgPipeline
    from PIL import Image

    pipeline = StableDiffusionImg2ImgPipeline(
        **load_pipeline("tiny-sd", device="cpu").components, requires_safety_checker=False
    )
    pipeline.set_progress_bar_config(disable=True)

    def run() -> Tensor:
        return pipeline(
            ["a boat on water"] * 2,
            image=Image.new("RGB", (128, 96), "blue"),
            strength=0.5,
            num_inference_steps=4,
            generator=torch.Generator().manual_seed(3),
            output_type="latent",
        ).images

    plain = run()
    with record(pipeline, ["boat", "water"]) as recording:
        assert torch.equal(run(), plain)
    assert (recording.scores.shape, recording.grid) == ((2, 2, 2, 2, 48), (1, 6, 8))
    assert recording.sigmas[0] < 0.9


@pytest.mark.parametrize("kind", ["DDIMScheduler", "EulerDiscreteScheduler"])
def test_an_image_is_looked_at_with_noise(kind: str, captured: Capture) -> None:
    import diffusers
    from PIL import Image

    pipeline = load_pipeline("tiny-sd", device="cpu")
    pipeline.set_progress_bar_config(disable=True)
    pipeline.scheduler = getattr(diffusers, kind).from_config(pipeline.scheduler.config)
    calls = captured(pipeline.unet)
    pixels = torch.rand(96, 128, 3, generator=torch.Generator().manual_seed(1))
    image = Image.fromarray((pixels * 255).round().byte().numpy())
    found = analyze(pipeline, image, ["boat", "water"], noise=0.5, seed=5, width=128, height=96)
    with torch.no_grad():
        shown = (pixels * 255).round() / 127.5 - 1
        latents = pipeline.vae.encode(shown.permute(2, 0, 1)[None]).latents
    noise = torch.randn(latents[0].shape, generator=torch.Generator().manual_seed(5))
    (call,) = calls[-1:]
    assert relative_error(call["sample"], 0.75**0.5 * latents + 0.5 * noise) < CLOSE
    levels = (1 - pipeline.scheduler.alphas_cumprod) ** 0.5
    assert float(call["timestep"]) == int((levels - 0.5).abs().argmin())
    with record(pipeline, ["boat", "water"]) as recording:
        pipeline.scheduler.set_timesteps(1)
        with torch.no_grad():
            made = pipeline.unet(**{**call, "return_dict": False})[0]
        pipeline.scheduler.step(made, pipeline.scheduler.timesteps[0], call["sample"])
    assert relative_error(found.scores, recording.scores) < CLOSE
    assert (found.grid, found.image_size, found.sigmas, found.reading) == ((1, 6, 8), (96, 128), (0.5,), "cross")


def test_attention_that_cannot_be_seen_is_said_by_name() -> None:
    pipeline = load_pipeline("tiny-sd", device="cpu")
    pipeline.set_progress_bar_config(disable=True)
    pipeline.enable_attention_slicing()
    with pytest.raises(
        UserError, match=r"^Nothing was recorded: layer 0 computes its attention .* by a cache or SlicedAttn"
    ):
        generate(pipeline, "a boat", ["boat"], steps=1)


def test_concepts_of_ltx_2_go_through_its_connectors_as_prompts(random_pipeline: Any) -> None:
    """These move the padding before a text behind it."""
    pipeline = WHOLE_CROSS["LTX-2.3"].build(random_pipeline)
    connectors = pipeline.connectors
    encoded = encode_concepts(pipeline, parse_concepts("home: a red house, tree"), max_tokens=16, presence=False)
    assert encoded.token_counts == (3, 1)
    for text, prompt in zip(encoded.texts, ("a red house", "tree"), strict=True):
        with torch.no_grad():
            states, mask, *_ = pipeline.encode_prompt(
                [prompt], do_classifier_free_guidance=False, max_sequence_length=16
            )
            expected, _, _ = connectors(states, mask, padding_side="left")
        assert text.own == (0, len(prompt.split()))
        assert torch.equal(text.states, expected[0])


def test_concepts_of_hunyuan_dit_have_the_tokens_of_both_text_encoders(random_pipeline: Any) -> None:
    pipeline = WHOLE_CROSS["HunyuanDiT"].build(random_pipeline)
    t5 = pipeline.text_encoder_2
    encoded = encode_concepts(pipeline, parse_concepts("home: a red house, tree"), max_tokens=24, presence=False)
    with torch.no_grad():
        for index, width in ((0, TEXT_WIDTH), (1, t5.config.d_model)):
            states = pipeline.encode_prompt(
                "a red house", do_classifier_free_guidance=False, max_sequence_length=24, text_encoder_index=index
            )[0][0]
            text = encoded.texts[0]
            found = text.options["t5_tokens"] if index else text.tokens
            assert found.shape == (3, width)
            assert any(torch.equal(found, states[first : first + 3]) for first in range(3))


@pytest.fixture
def sdxl(random_pipeline: Any) -> Any:
    from diffusers import StableDiffusionXLPipeline
    from transformers import CLIPTextModel

    words, unet = random_pipeline.tokenizer, CROSS["SDXL"].make()
    unet.register_to_config(sample_size=12)
    encoders = [make_clip(len(words.get_vocab()), width, seed) for width, seed in ((32, 1), (16, 2))]
    encoders[0] = fill(CLIPTextModel(encoders[0].config))  # without the projection of the pooled text
    pipeline = StableDiffusionXLPipeline(make_vae(), *encoders, words, words, unet, EulerDiscreteScheduler())
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def test_sdxl_generates_and_looks_at_its_image(sdxl: Any) -> None:
    options: dict[str, Any] = {"width": 96, "height": 64, "steps": 2, "cfg": 3.0, "seed": 3}
    found = generate(sdxl, ["a red house", "a tree"], ["house", "tree"], negative_prompt="water", **options)
    plain = sdxl(
        ["a red house", "a tree"],
        negative_prompt=["water"] * 2,
        guidance_scale=3.0,
        width=96,
        height=64,
        num_inference_steps=2,
        generator=[torch.Generator().manual_seed(seed) for seed in (3, 4)],
    ).images
    assert [one.tobytes() for one in found.images] == [one.tobytes() for one in plain]
    assert found.recording.scores.shape == (2, 4, 2, 2, 24) and found.recording.grid == (1, 4, 6)
    assert found.recording.sigmas[0] > found.recording.sigmas[1] > 0
    seen = analyze(sdxl, found.images[0], ["house", "tree"], noise=0.3, width=96, height=64)
    assert (seen.grid, seen.image_size, seen.reading) == ((1, 4, 6), (64, 96), "cross")
    assert seen.scores.std(-1).min() > 0


def test_the_last_tokens_of_sdxl_may_reach_beyond_the_image(sdxl: Any) -> None:
    """Its tokens are of 16 pixels, and its images of any multiple of 8."""
    with record(sdxl, ["house"]) as recording:
        sdxl("a house", width=104, height=72, num_inference_steps=1, output_type="latent")
    assert (recording.grid, recording.image_size, recording.covered_size) == ((1, 5, 7), (72, 104), (80, 112))


def test_concepts_of_sdxl_are_read_by_both_of_its_text_encoders(sdxl: Any) -> None:
    pipeline = sdxl
    encoded = encode_concepts(pipeline, parse_concepts("home: a red house"), presence=False)
    states = pipeline.encode_prompt("a red house", do_classifier_free_guidance=False)[0]
    (text,) = encoded.texts
    assert encoded.embeddings.shape == (1, TEXT_WIDTH) and encoded.pooling == "last"
    assert text.own == (1, 4) and torch.equal(text.states, states[0])


def test_concepts_of_fibo_2_have_states_of_all_depths(random_pipeline: Any) -> None:
    pipeline = WHOLE_CROSS["Fibo 2"].build(random_pipeline)
    encoded = encode_concepts(pipeline, parse_concepts("home: a red house"), max_tokens=24, presence=False)
    states, _ = pipeline.encode_prompt("a red house")
    (text,) = encoded.texts
    assert states.shape == (1, 3, 7, TEXT_WIDTH) and text.own == (2, 5)
    assert torch.equal(text.states.unflatten(-1, (3, -1))[:, 1], states[0, 1])
