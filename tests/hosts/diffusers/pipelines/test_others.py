"""The families in `others.py`, each with a whole pipeline of small random parts."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import functools
import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import ModularPipeline
from PIL import Image
from torch import Tensor

from concept_attention.concepts import parse_concepts
from concept_attention.errors import UserError
from concept_attention.hosts.diffusers.adapters import described
from concept_attention.hosts.diffusers.analysis import analyze
from concept_attention.hosts.diffusers.encode import encode_concepts
from concept_attention.hosts.diffusers.generation import generate
from concept_attention.hosts.diffusers.loading import defaults_for, load_pipeline
from concept_attention.hosts.diffusers.named import named
from concept_attention.hosts.diffusers.networks import network_of
from concept_attention.hosts.diffusers.pipelines.own_encoder import _read
from concept_attention.hosts.diffusers.record import record
from concept_attention.hosts.diffusers.registry import FAMILIES, family_of
from concept_attention.hosts.diffusers.steps import is_diffusion
from concept_attention.hosts.encoded import EncodedConcepts
from concept_attention.labelling.labeller import ConceptLabeller
from concept_attention.labelling.settings import LabelSettings
from concept_attention.tiny.check.checking import measure_maps
from concept_attention.tiny.check.in_diffusers import InDiffusers

from ....support.diffusers.cross_attention.twin import cross_twin
from ....support.diffusers.hand_latents import noised_by_hand
from ....support.diffusers.hooks import untouched
from ....support.diffusers.own_blocks.catalogue import OWN_BLOCKS
from ....support.diffusers.own_blocks.twin import naive_twin
from ....support.diffusers.whole_cross import WHOLE_CROSS, WholeCross
from ....support.diffusers.whole_pipelines import WHOLE, Whole, scheduler
from ....support.numbers import naive_scores, relative_error

CONCEPTS = parse_concepts("house, tree", "sky")
PROMPTS = ["a red house", "a tree"]
CLOSE = 1e-5
NOISE, SEED = 0.3, 5
LATENTS = ("hidden_states", "x", "sample")
# The timestep that a transformer gets at this noise level.
TIMES = {
    "Qwen-Image": NOISE,
    "Z-Image": 1 - NOISE,
    "Lumina 2": 1 - NOISE,
    "Krea 2": NOISE,
    "Chroma": NOISE,
    "LongCat-Image": NOISE,
    "Ovis-Image": NOISE,
    "AuraFlow": NOISE,
    "Ideogram 4": 1 - NOISE,
    "Mochi": 1000 * (1 - NOISE),
    "Flux 3": NOISE,
    "MiniMax-H3": 1 - NOISE,
    "Fibo 2": NOISE,
    "Cosmos 1": 0.25 * math.log(0.5 * NOISE / (1 - NOISE**2) ** 0.5),  # of data with a deviation of 0.5
    "Cosmos Predict 2": NOISE,
    "Cosmos Predict 2.5": NOISE,
}
Capture = Callable[[Any], list[dict[str, Any]]]
ENCODE = [f"concept_attention.hosts.diffusers.{module}.encode_concepts" for module in ("analysis", "generation")]


@dataclass(frozen=True)
class Built:
    name: str
    whole: Whole
    pipeline: Any

    @property
    def network(self) -> Any:
        return network_of(self.pipeline)

    @functools.cached_property
    def encoded(self) -> EncodedConcepts:
        return encode_concepts(self.pipeline, CONCEPTS, max_tokens=self.whole.tokens)

    @property
    def size(self) -> dict[str, int]:
        return {"width": 4 * self.whole.unit, "height": 3 * self.whole.unit}

    @property
    def options(self) -> dict[str, Any]:
        frames = {"frames": self.whole.frames} if self.whole.frames > 1 else {}
        return {**self.size, **frames, "steps": 2, "max_tokens": self.whole.tokens}

    def call(self, prompts: list[str], **options: Any) -> Any:
        """The pipeline called as its own documentation says."""
        frames = {FRAMES.get(self.name, "num_frames"): self.whole.frames} if self.whole.frames > 1 else {}
        length = {} if self.name in NO_LENGTH else {"max_sequence_length": self.whole.tokens}
        options = copy.deepcopy(options)  # some write into the lists that they are given
        arguments = {
            **self.size,
            **frames,
            **length,
            "num_inference_steps": 2,
            "generator": [torch.Generator().manual_seed(SEED + index) for index in range(len(prompts))],
            **{"output_type": "pil", **self.whole.own, **options},
        }
        if isinstance(self.pipeline, ModularPipeline):
            return call_modular(self.pipeline, *prompts, arguments)
        return self.pipeline(prompt=list(prompts), **arguments)

    def pictures(self) -> list[Image.Image]:
        count = self.whole.frames if self.whole.frames > 1 else self.whole.batch
        random, sides = np.random.default_rng(0), (3 * self.whole.unit, 4 * self.whole.unit, 3)
        return [Image.fromarray(random.integers(0, 256, sides, dtype=np.uint8)) for _ in range(count)]

    @functools.cached_property
    def alone(self) -> dict[str, Any]:
        """What the transformer is given first of a call whose prompts are the concepts."""
        given: dict[str, Any] = {}

        def stop(module: Any, args: tuple[Any, ...], options: dict[str, Any]) -> None:
            given.update(named(module, args, options))
            raise InterruptedError

        handle = self.network.register_forward_pre_hook(stop, with_kwargs=True)
        with contextlib.suppress(InterruptedError):
            self.call([concept.text for concept in CONCEPTS], output_type="latent", **unguided(self))
        handle.remove()
        return given

    def scores(self, embeddings: Tensor, call: dict[str, Any], grid: tuple[int, ...], rows: slice) -> Tensor:
        """Of the naive twin, in some rows of an evaluation."""
        if isinstance(self.whole, WholeCross):
            about = call, self.alone, self.whole.places, grid, rows
            return cross_twin(self.whole.family, self.network, *about)
        family = dataclasses.replace(OWN_BLOCKS[self.whole.kind], frames=grid[0])
        outs = naive_twin(family, self.network, call, embeddings, grid[1:])
        return naive_scores(*([one[rows] for one in each] for each in outs))


def call_modular(pipeline: Any, prompt: str, arguments: dict[str, Any]) -> Any:
    """What all steps of a modular pipeline make of a prompt, or all but the last."""
    if arguments["output_type"] == "latent":
        steps = pipeline.blocks
        steps.sub_blocks.pop("decode")
        parts, pipeline = pipeline.components, type(pipeline)(steps)
        pipeline.update_components(**{name: part for name, part in parts.items() if name in pipeline.components})
        del arguments["output_type"]
    return pipeline(prompt=prompt, **arguments)


# Pipelines whose text encoder always gets as many tokens, or as many as a prompt has.
NO_LENGTH = (
    "LongCat-Image",
    "Ernie-Image",
    "HunyuanImage 2.1",
    "HunyuanVideo 1.5",
    "EasyAnimate",
    "MiniMax-H3",
    "Fibo 2",
    "HunyuanDiT",
    "Latte",
)
NAMED = {  # variants of a family
    "LTX-2.3": "LTX-2",
    "Kandinsky 5 Image": "Kandinsky 5",
    "Kolors": "Stable Diffusion",
    **dict.fromkeys(("Cosmos 1", "Cosmos Predict 2", "Cosmos Predict 2.5"), "Cosmos"),
}
FRAMES = {"Latte": "video_length", "Sana Video": "frames"}  # what else they call their number of frames
# What a look at an existing image has of its own besides latents and timestep: of videos with sound, the sound.
OWN_ARGUMENTS = {
    "MiniMax-H3": {"audio_hidden_states", "timestep_indices"},
    **dict.fromkeys(("LTX-2", "LTX-2.3"), {"audio_hidden_states", "isolate_modalities", "sigma"}),
    **dict.fromkeys(("Kandinsky 5", "Kandinsky 5 Image"), {"return_dict"}),
}


ALL: dict[str, Whole] = {**WHOLE, **WHOLE_CROSS}


Build = Callable[[str], Built]


@pytest.fixture(scope="module")
def build(random_pipeline: Any) -> Build:
    """A family's pipeline by its name, made once for all tests: leave it as it is."""
    return functools.cache(lambda name: Built(name, ALL[name], ALL[name].build(random_pipeline)))


@pytest.fixture(scope="module", params=ALL)
def built(request: pytest.FixtureRequest, build: Build) -> Built:
    return build(request.param)


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> Callable[[Built], None]:
    """Encode a pipeline's concepts once for all tests."""

    def use(built: Built) -> None:
        encoded = built.encoded
        for place in ENCODE:
            monkeypatch.setattr(place, lambda *_: encoded)

    return use


def test_every_family_that_is_called_is_tested() -> None:
    elsewhere = {"Flux 1", "Flux 2", "Stable Diffusion 3", "CogVideoX", "Qwen-Image 2.1"}
    names = {NAMED.get(name, name) for name in ALL}
    assert {family.title for family in FAMILIES if family.pipelines} == names | elsewhere


def test_a_pipelines_own_size_can_be_made(built: Built) -> None:
    defaults, family = defaults_for(built.pipeline), family_of(built.pipeline)
    sides, unit = (defaults.width, defaults.height), family.token_pixels(built.pipeline)
    assert unit == built.whole.unit
    assert built.name == "HunyuanVideo 1.5" or all(side % unit == 0 for side in sides)  # whose tokens are larger here
    if family.made_size(built.pipeline, *sides) == sides and built.name != "Latte":  # which is made for 3 frames here
        grid = family.layout(built.pipeline, *sides, defaults.frames).grid
        assert grid[1:] == (sides[1] // unit, sides[0] // unit)


def made(output: Any) -> list[Any]:
    """The images, or the frames of all videos."""
    names = ("images", "image", "videos", "frames")
    kind = next(name for name in names if getattr(output, name, None) is not None)
    found = getattr(output, kind)
    return [np.asarray(one) for one in (found if "image" in kind else [frame for video in found for frame in video])]


def test_an_image_is_generated_with_its_recording(
    built: Built, captured: Capture, encoded: Callable[[Built], None]
) -> None:
    """What the pipeline makes with and without concepts is the same; scores are those of the prompt's rows."""
    encoded(built)
    calls, prompts = captured(built.network), PROMPTS[: built.whole.batch]
    found = generate(built.pipeline, prompts, CONCEPTS, seed=SEED, cfg=cfg(built), **built.options)
    mine = list(calls)
    plain = built.call(prompts, **built.whole.guided)
    frames = [np.asarray(one) for one in found.images or [frame for video in found.videos for frame in video]]
    assert np.std(frames[0]) > 1
    assert all(np.array_equal(ours, theirs) for ours, theirs in zip(frames, made(plain), strict=True))
    recording, family = found.recording, family_of(built.pipeline)
    rows, columns = 3, 4
    assert recording.grid[1:] == (rows, columns)
    assert recording.image_size == (built.size["height"], built.size["width"])
    steps = (0,) if built.name == "MiniMax-H3" else (0, 1)
    assert (recording.batch, recording.steps) == (len(prompts), steps) and "troubles" not in recording.metadata
    embeddings = built.encoded.embeddings
    half = len(prompts)
    at = slice(0, half) if family.prompt_first else slice(-half, None)
    expected = built.scores(embeddings, mine[0], recording.grid, at)
    assert relative_error(recording.scores[0], expected) < CLOSE


def cfg(built: Built) -> float | None:
    return None if built.name in ("HunyuanImage 2.1", "MiniMax-H3") else 3.0


@pytest.mark.parametrize("name", ["Z-Image", "Krea 2", "HunyuanVideo", "PixArt", "Latte"])
def test_the_recording_is_that_of_the_pipelines_own_call(name: str, build: Build) -> None:
    built = build(name)
    prompts = PROMPTS[: built.whole.batch]
    found = generate(built.pipeline, prompts, CONCEPTS, seed=SEED, cfg=cfg(built), **built.options).recording
    with record(built.pipeline, CONCEPTS, max_tokens=built.whole.tokens) as recording:
        built.call(prompts, output_type="latent", **built.whole.guided)
    assert torch.equal(found.scores, recording.scores)
    assert (found.sigmas, found.grid, found.image_size) == (recording.sigmas, recording.grid, recording.image_size)
    assert found.frame_counts == recording.frame_counts


def test_existing_images_are_looked_at(
    built: Built, captured: Capture, encoded: Callable[[Built], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With what the pipeline itself gives its transformer, but for the latents and the timestep."""
    encoded(built)
    monkeypatch.setattr(built.pipeline.vae, "decode", None)
    calls, pictures = captured(built.network), built.pictures()
    before = dict(vars(built.pipeline.scheduler))
    found = analyze(
        built.pipeline,
        pictures,
        CONCEPTS,
        prompt=PROMPTS[0],
        noise=NOISE,
        seed=SEED,
        max_tokens=built.whole.tokens,
        **built.size,
    )
    (shown,) = calls
    after = vars(built.pipeline.scheduler)
    assert before.keys() == after.keys() and all(after[name] is one for name, one in before.items())
    batch = 1 if built.whole.frames > 1 else len(pictures)
    pixels = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1
    expected = noised_by_hand(built.name, built.pipeline, pixels, NOISE, SEED)
    latents = next(name for name in LATENTS if name in shown)
    given = torch.stack(shown[latents]) if isinstance(shown[latents], list) else shown[latents]
    assert relative_error(given, expected) < CLOSE

    calls.clear()
    built.call([PROMPTS[0]] * batch, output_type="latent", **unguided(built))
    ordinary, shown = ({name: one for name, one in call.items() if one is not None} for call in (calls[0], shown))
    assert ordinary.keys() == shown.keys()
    for name in shown.keys() - {latents, time_name(shown)} - OWN_ARGUMENTS.get(built.name, set()):
        assert same(shown[name], ordinary[name]), name
    timestep = shown[time_name(shown)].flatten()[: 1 if built.name == "MiniMax-H3" else None]  # then that of its sound
    assert timestep.tolist() == pytest.approx([time_of(built)] * len(timestep), abs=1e-4)
    assert found.sigmas == (NOISE,) and found.batch == batch
    assert found.grid[1:] == (3, 4) and found.image_size == (built.size["height"], built.size["width"])
    expected = built.scores(built.encoded.embeddings, shown, found.grid, slice(None))
    assert relative_error(found.scores[0], expected) < CLOSE


def unguided(built: Built) -> dict[str, Any]:
    """Arguments of a call without guidance, where the pipeline has any."""
    if built.name in ("HunyuanImage 2.1", "HunyuanVideo 1.5", "Motif-Video", "Flux 3", "MiniMax-H3"):
        return {}  # the prompt is evaluated by itself
    if built.name.startswith("LTX-2"):
        return {"guidance_scale": 1.0, "audio_guidance_scale": 1.0}
    if built.name in ("Qwen-Image", "HunyuanVideo"):
        return {"true_cfg_scale": 1.0}
    return {"guidance_scale": 0.0 if built.name in ("Z-Image", "Krea 2") else 1.0}


def time_name(call: dict[str, Any]) -> str:
    return next(name for name in ("timestep", "timesteps", "t") if name in call)


def time_of(built: Built) -> float:
    if is_diffusion(built.pipeline.scheduler):
        levels = (1 - built.pipeline.scheduler.alphas_cumprod) ** 0.5
        return float((levels - NOISE).abs().argmin())
    return TIMES.get(built.name, 1000 * NOISE)


def same(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


def test_a_prompt_may_be_empty(built: Built, encoded: Callable[[Built], None]) -> None:
    encoded(built)
    found = analyze(built.pipeline, built.pictures(), CONCEPTS, max_tokens=built.whole.tokens, **built.size)
    assert found.scores.isfinite().all()
    assert untouched(built.network)


def test_sides_are_multiples_of_the_models_own_token(build: Build, encoded: Callable[[Built], None]) -> None:
    encoded(build("HunyuanImage 2.1"))
    pipeline = build("HunyuanImage 2.1").pipeline
    picture = Image.new("RGB", (300, 200), "red")
    assert analyze(pipeline, picture, CONCEPTS, width=96, max_tokens=24).grid == (1, 2, 3)
    for call in (analyze, generate):
        with pytest.raises(UserError, match=r"^Height must be a positive multiple of 32, got 48\. Try 32\.$"):
            call(pipeline, picture if call is analyze else "a house", CONCEPTS, width=64, height=48)  # type: ignore[operator]


@pytest.mark.parametrize("name", ["HiDream-I1", "JoyImage"])
def test_sizes_that_a_pipeline_changes_are_said(name: str, build: Build, encoded: Callable[[Built], None]) -> None:
    encoded(build(name))
    pipeline = build(name).pipeline
    asked = {"width": 128, "height": 128} if name == "HiDream-I1" else {"width": 64, "height": 64}
    with pytest.raises(UserError, match=rf"^{name} makes no pictures of {asked['width']} x .* instead\. Ask for that"):
        generate(pipeline, "a house", CONCEPTS, **asked)
    found = analyze(pipeline, Image.new("RGB", (640, 480), "red"), CONCEPTS, max_tokens=24)
    assert (found.grid, found.image_size) == ((1, 3, 4), (480, 640))


@pytest.mark.parametrize("name, frames, message", [("HunyuanVideo", 6, "4 n"), ("Mochi", 6, "6 n")])
def test_videos_have_so_many_frames(
    name: str, frames: int, message: str, build: Build, encoded: Callable[[Built], None]
) -> None:
    encoded(build(name))
    pipeline = build(name).pipeline
    with pytest.raises(UserError, match=rf"^The number of frames must be {message} \+ 1, got 6\. Try"):
        generate(pipeline, "a house", CONCEPTS, width=64, height=48, frames=frames)
    one = analyze(pipeline, Image.new("RGB", (64, 48), "red"), CONCEPTS, width=64, max_tokens=24)
    assert (one.grid, one.frame_counts) == ((1, 3, 4), None)


def test_samples_are_independent_noises_and_images_are_looked_at_as_alone(
    build: Build, encoded: Callable[[Built], None]
) -> None:
    built = build("Qwen-Image")
    encoded(built)
    pipeline, pictures = built.pipeline, built.pictures()
    options: dict[str, Any] = {"width": 64, "height": 48, "max_tokens": 24, "prompt": "a house"}
    both = analyze(pipeline, pictures, CONCEPTS, samples=2, seed=4, **options)
    for index, picture in enumerate(pictures):
        for sample in range(2):
            alone = analyze(pipeline, picture, CONCEPTS, seed=4 + sample, **options)
            assert relative_error(both.scores[sample, :, index], alone.scores[0, :, 0]) < CLOSE


def test_a_prompt_is_encoded_once_for_all_samples(build: Build, encoded: Callable[[Built], None]) -> None:
    encoded(build("Qwen-Image"))
    pipeline = build("Qwen-Image").pipeline
    calls: list[Any] = []
    handle = pipeline.text_encoder.register_forward_pre_hook(lambda *_: calls.append(0))
    counts = []
    for samples in (1, 3):
        calls.clear()
        analyze(pipeline, Image.new("RGB", (64, 48)), CONCEPTS, samples=samples, width=64, max_tokens=24)
        counts.append(len(calls))
    handle.remove()
    assert counts == [1, 1]


@pytest.mark.parametrize("name", ["Qwen-Image", "HunyuanVideo"])
def test_nothing_stays_after_a_prompt_that_fails(
    name: str, build: Build, encoded: Callable[[Built], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    built = build(name)
    encoded(built)

    def fail(*args: Any, **options: Any) -> None:
        raise KeyboardInterrupt

    scheduler = built.pipeline.scheduler
    monkeypatch.setattr(built.pipeline, "encode_prompt", fail)
    with pytest.raises(KeyboardInterrupt):
        analyze(built.pipeline, built.pictures(), CONCEPTS, max_tokens=24, **built.size)
    assert built.pipeline.scheduler is scheduler and untouched(built.network)
    assert built.pipeline._progress_bar_config == {"disable": True}


IMG2IMG = {
    "Qwen-Image": "QwenImageImg2ImgPipeline",
    "Z-Image": "ZImageImg2ImgPipeline",
    "Chroma": "ChromaImg2ImgPipeline",
}


@pytest.mark.parametrize("name", IMG2IMG)
def test_it_is_what_a_run_that_changes_the_image_begins_with(
    name: str, random_pipeline: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """diffusers' own image-to-image pipelines, whose VAE's sample is its mean here."""
    import diffusers
    from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution

    monkeypatch.setattr(DiagonalGaussianDistribution, "sample", lambda one, generator=None: one.mode())
    plain = WHOLE[name].build(random_pipeline)
    plain.scheduler = diffusers.FlowMatchEulerDiscreteScheduler(shift=1.0)
    pipeline = getattr(diffusers, IMG2IMG[name])(**{**plain.components})
    for own in ("prompt_template_encode_start_idx",):
        if hasattr(plain, own):
            setattr(pipeline, own, getattr(plain, own))
    pipeline.set_progress_bar_config(disable=True)
    (picture, *_) = Built(name, WHOLE[name], plain).pictures()
    with record(pipeline, CONCEPTS, max_tokens=24) as recording:
        pipeline(
            prompt="a red house",
            image=picture,
            strength=0.5,
            width=64,
            height=48,
            num_inference_steps=4,
            max_sequence_length=24,
            generator=torch.Generator().manual_seed(SEED),
            output_type="latent",
            **({"true_cfg_scale": 1.0} if name == "Qwen-Image" else {"guidance_scale": 0.0}),
        )
    noise = recording.sigmas[0]
    options: dict[str, Any] = {"width": 64, "height": 48, "max_tokens": 24, "prompt": "a red house"}
    found = analyze(plain, picture, CONCEPTS, noise=noise, seed=SEED, **options)
    assert 0.4 < noise < 0.8
    assert relative_error(found.scores[0], recording.scores[0]) < 1e-4
    if name == "Qwen-Image":  # its own template is longer than what is dropped here
        return
    again = analyze(pipeline, picture, CONCEPTS, noise=noise, seed=SEED, **options)  # of the same parts
    assert torch.equal(again.scores, found.scores)


BIDIRECTIONAL = ("Chroma", "Bria", "AuraFlow", "CogView 3 Plus", "Mochi", "Motif-Video", "HiDream-I1")


@pytest.mark.parametrize("name", [name for name in WHOLE if name not in BIDIRECTIONAL])
def test_a_concept_is_read_where_its_word_is(name: str, build: Build) -> None:
    """Where a token reads only what is before it, two words differ from their own token on, in whatever template."""
    pipeline = build(name).pipeline
    width = described(pipeline.transformer).text_width
    with torch.no_grad():
        one, other = (_read(pipeline, word, width, 24, {}).states for word in ("house", "tree"))
    place = int(((one - other).abs().amax(dim=1) > 1e-3).nonzero()[0])
    found = build(name).encoded.embeddings[0]
    assert relative_error(found, one[place]) < CLOSE


@pytest.mark.parametrize(
    "name, kind", [("HunyuanVideo", "HunyuanVideoImageToVideoPipeline"), ("LongCat-Image", "LongCatImageEditPipeline")]
)
def test_concepts_of_a_pipeline_whose_prompts_go_with_an_image_need_none(name: str, kind: str, build: Build) -> None:
    import diffusers

    plain = build(name).pipeline

    class Eyes:
        image_processor = None

    parts = {"image_processor": None} if name == "HunyuanVideo" else {"text_processor": Eyes()}
    pipeline = getattr(diffusers, kind)(**{**plain.components, **parts})
    found, expected = encode_concepts(pipeline, CONCEPTS, max_tokens=24, presence=False), build(name).encoded
    assert found.token_counts == (1, 1, 1)
    if name == "HunyuanVideo":  # what LongCat's takes for the longest prompt is another number there
        assert torch.equal(found.embeddings, expected.embeddings)


def test_what_needs_more_than_a_prompt_is_refused(random_pipeline: Any, caplog: pytest.LogCaptureFixture) -> None:
    plain = WHOLE["HunyuanVideo"].build(random_pipeline)
    from ....support.diffusers.tiny_parts import remade

    plain.transformer = remade(plain.transformer, in_channels=9)  # with a first frame among the channels
    picture = Image.new("RGB", (64, 48), "red")
    with (
        caplog.at_level(logging.WARNING),
        pytest.raises(UserError, match="takes latents of shape .* more than a prompt"),
    ):
        analyze(plain, picture, CONCEPTS, width=64, max_tokens=24)
    assert untouched(plain.transformer)


def test_a_folder_is_labelled_and_checked(random_pipeline: Any, tmp_path: Path) -> None:
    WHOLE["Chroma"].build(random_pipeline).save_pretrained(tmp_path / "model")
    name = str(tmp_path / "model")
    pictures = [Image.new("RGB", (96, 64), "red"), Image.new("RGB", (64, 64), "blue")]
    labeller = ConceptLabeller(LabelSettings(CONCEPTS, model=name, dtype="float32", width=64), "cpu")
    labels = labeller({"id": ["a", "b"], "image": [np.asarray(picture) for picture in pictures]})
    assert [names for names in labels["concepts"]] == [["house", "tree"]] * 2

    subject = InDiffusers(load_pipeline(name, "cpu", "float32"), 64, 64)
    assert torch.equal(subject.sample(True), subject.sample(False))
    maps = measure_maps(subject, 1).evaluation
    assert (maps.width, maps.height, maps.mode, maps.layers) == (64, 64, "flux", (1, 2))


def test_a_modular_pipeline_looks_at_images_as_its_classic_one(random_pipeline: Any) -> None:
    from diffusers.modular_pipelines.z_image.modular_blocks_z_image import ZImageAutoBlocks

    classic = WHOLE["Z-Image"].build(random_pipeline)
    pipeline = ZImageAutoBlocks().init_pipeline()
    pipeline.update_components(**classic.components)
    picture, options = Image.new("RGB", (64, 48), "red"), {"width": 64, "max_tokens": 24}
    expected = analyze(classic, picture, CONCEPTS, **options)
    assert torch.equal(analyze(pipeline, picture, CONCEPTS, **options).scores, expected.scores)


def test_a_family_without_such_a_pipeline_is_refused() -> None:
    mine = SimpleNamespace(transformer=OWN_BLOCKS["HunyuanVideo FramePack"].make(), scheduler=scheduler())
    with pytest.raises(UserError, match=r"cannot analyze existing images: .*Record a run that changes an image little"):
        analyze(mine, Image.new("RGB", (64, 48), "red"), CONCEPTS)


def test_guidance_of_a_guider_is_its_own(random_pipeline: Any) -> None:
    pipeline = WHOLE["Motif-Video"].build(random_pipeline)
    assert defaults_for(pipeline).cfg == 3.0
    with pytest.raises(UserError, match="guidance of a MotifVideoPipeline is that of its guider, 3, got cfg 5"):
        generate(pipeline, "a house", CONCEPTS, width=64, height=48, frames=1, cfg=5.0)
