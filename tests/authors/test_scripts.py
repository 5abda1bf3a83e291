"""The authors' six example scripts, from their calls, on small random models; their cross attention maps and vectors.

Only the package in the imports, the sizes and the device differ from theirs.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageSequence
from torch import Tensor

from concept_attention.authors import ConceptAttentionFluxPipeline, base
from concept_attention.authors.cogvideox import ModifiedCogVideoXPipeline, ModifiedCogVideoXTransformer3DModel
from concept_attention.authors.flux2 import ConceptAttentionFlux2Pipeline
from concept_attention.authors.output import ConceptAttentionOutput
from concept_attention.authors.sd3 import ConceptAttentionSD3Pipeline
from concept_attention.authors.segmentation import generate_concept_basis_and_image_representation
from concept_attention.authors.video_utils import make_concept_attention_video, make_individual_videos
from concept_attention.authors.wanted import literal_concepts
from concept_attention.errors import UserError
from concept_attention.hosts.diffusers.generation import generate
from concept_attention.vectors import JointVectors

from ..support.diffusers.small_pipelines import (
    make_cogvideox_pipeline,
    make_flux2_pipeline,
    make_flux_pipeline,
    make_sd3_pipeline,
)
from ..support.diffusers.tiny_transformers import make_flux
from ..support.numbers import relative_error

PROMPT = "a house in the grass by a tree"
CONCEPTS = ["house", "grass", "sky", "tree"]
SIZE: dict[str, Any] = {"width": 64, "height": 64}
IMAGE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))

Load = Callable[[Any], None]


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> Load:
    """Let the next model that is loaded be the given one."""
    return lambda pipeline: monkeypatch.setattr(base, "load_pipeline", lambda *asked: pipeline)


@pytest.fixture
def flux(schnell: Any, loaded: Load) -> ConceptAttentionFluxPipeline:
    loaded(schnell)
    return ConceptAttentionFluxPipeline(model_name="flux-schnell", device="cuda:0")


@pytest.fixture
def flux2(random_pipeline: Any, loaded: Load) -> ConceptAttentionFlux2Pipeline:
    loaded(make_flux2_pipeline(random_pipeline))
    return ConceptAttentionFlux2Pipeline(model_name="flux.2-dev", device="cuda:0")


@pytest.fixture
def sd3(random_pipeline: Any, loaded: Load) -> ConceptAttentionSD3Pipeline:
    loaded(make_sd3_pipeline(random_pipeline))
    return ConceptAttentionSD3Pipeline(model_name="stabilityai/stable-diffusion-3.5-large-turbo", device="cuda")


@pytest.fixture
def cogvideox(random_pipeline: Any, tmp_path: Path) -> ModifiedCogVideoXPipeline:
    """Loaded from a folder, as theirs from the hub."""
    model_id = tmp_path / "model"
    made = make_cogvideox_pipeline(random_pipeline)
    made.save_pretrained(model_id)
    transformer = ModifiedCogVideoXTransformer3DModel.from_pretrained(model_id, subfolder="transformer")
    pipe = ModifiedCogVideoXPipeline.from_pretrained(model_id, transformer=transformer).to("cpu")
    pipe.set_progress_bar_config(disable=True)
    return pipe


class Seen(dict[tuple[int, int], tuple[Tensor, ...]]):
    """Copies of the named vectors of a run, by step and layer."""

    def __init__(self, *names: str) -> None:
        self._names = names

    def __call__(self, step: int, layer: int, vectors: JointVectors) -> None:
        self[step, layer] = tuple(getattr(vectors, name).clone() for name in self._names)


def save_all(images: list[Image.Image], folder: Path) -> None:
    assert len(images) == len(CONCEPTS)
    for concept, image in zip(CONCEPTS, images, strict=True):
        image.save(folder / f"{concept}.png")
        assert Image.open(folder / f"{concept}.png").size == (64, 64)


def test_generate_image_flux(flux: ConceptAttentionFluxPipeline, tmp_path: Path) -> None:
    pipeline_output = flux.generate_image(prompt=PROMPT, concepts=CONCEPTS, **SIZE)
    pipeline_output.image.save(tmp_path / "image.png")
    save_all(pipeline_output.concept_heatmaps, tmp_path)
    save_all(pipeline_output.cross_attention_maps, tmp_path)
    assert isinstance(pipeline_output, ConceptAttentionOutput)
    assert flux.model_name == "flux-schnell" and flux.device == torch.device("cpu")


def test_encode_image_flux(flux: ConceptAttentionFluxPipeline, tmp_path: Path) -> None:
    pipeline_output = flux.encode_image(image=IMAGE, concepts=CONCEPTS, prompt="a house.", **SIZE)
    save_all(pipeline_output.concept_heatmaps, tmp_path)
    save_all(pipeline_output.cross_attention_maps, tmp_path)


def test_generate_image_flux2(flux2: ConceptAttentionFlux2Pipeline, tmp_path: Path) -> None:
    pipeline_output = flux2.generate_image(prompt=PROMPT, concepts=CONCEPTS, num_inference_steps=4, **SIZE)
    pipeline_output.image.save(tmp_path / "image.png")
    save_all(pipeline_output.concept_heatmaps, tmp_path)
    save_all(pipeline_output.cross_attention_maps, tmp_path)


def test_generate_image_sd3(sd3: ConceptAttentionSD3Pipeline, tmp_path: Path) -> None:
    output = sd3.generate_image(prompt=PROMPT, concepts=CONCEPTS, num_inference_steps=4, guidance_scale=0.0, **SIZE)
    output.image.save(tmp_path / "image.png")
    save_all(output.concept_heatmaps, tmp_path)
    assert output.cross_attention_maps is None


def test_encode_image_sd3(sd3: ConceptAttentionSD3Pipeline, tmp_path: Path) -> None:
    output = sd3.encode_image(image=IMAGE, prompt=PROMPT, concepts=CONCEPTS, timestep_index=-2, **SIZE)
    save_all(output.concept_heatmaps, tmp_path)


def test_generate_video_cogvideox(cogvideox: ModifiedCogVideoXPipeline, tmp_path: Path) -> None:
    options = {"num_frames": 9, "num_inference_steps": 3, "width": 64, "height": 48, "max_sequence_length": 24}
    video, concept_attention_dict = cogvideox(
        prompt=PROMPT,
        concepts=CONCEPTS,
        num_videos_per_prompt=1,
        guidance_scale=6,
        concept_attention_kwargs={"timesteps": list(range(3)), "layers": list(range(3))},
        **options,
    )
    assert [image.size for image in video.frames[0]] == [(64, 48)] * 9
    for name in ("concept_attention_maps", "cross_attention_maps"):
        maps = concept_attention_dict[name]
        assert maps.shape == (4, 3, 3, 4)
        file = tmp_path / f"{name}.gif"
        make_concept_attention_video(CONCEPTS, maps, save_path=str(file), color_map="plasma")
        make_individual_videos(CONCEPTS, maps, save_dir=str(tmp_path), fps=8, color_map="plasma")
        assert Image.open(file).n_frames == 3
        for concept in CONCEPTS:
            assert Image.open(tmp_path / f"{concept}_attention_video.gif").n_frames == 3


def test_without_concepts_the_pipeline_is_diffusers_own(cogvideox: ModifiedCogVideoXPipeline) -> None:
    made = generate(cogvideox, PROMPT, CONCEPTS, width=64, height=48, frames=9, steps=1, max_tokens=24)
    assert len(made.videos[0]) == 9 and made.recording.grid == (3, 3, 4)


def test_cross_attention_maps_of_flux_compare_queries(flux: ConceptAttentionFluxPipeline) -> None:
    seen = Seen("image_q", "concept_q")
    options: dict[str, Any] = {"seed": 3, **SIZE}
    generate(flux.pipeline, PROMPT, CONCEPTS, pooling="first", on_vectors=seen, steps=2, **options)
    found = flux.generate_image(
        PROMPT, CONCEPTS, layer_indices=[1, 2], num_inference_steps=2, return_pil_heatmaps=False, **options
    )
    scores = [torch.einsum("bhnd,bhcd->bcn", *seen[step, layer]) for step in (0, 1) for layer in (1, 2)]
    expected = torch.stack(scores).softmax(dim=2).mean(0)[0].reshape(4, 4, 4)
    torch.testing.assert_close(found.cross_attention_maps, expected, rtol=1e-4, atol=1e-6)


def test_cross_attention_maps_of_flux2_compare_queries_with_keys(flux2: ConceptAttentionFlux2Pipeline) -> None:
    seen = Seen("image_k", "concept_q")
    generate(flux2.pipeline, PROMPT, CONCEPTS, on_vectors=seen, steps=3, **SIZE)
    found = flux2.generate_image(
        PROMPT,
        CONCEPTS,
        timesteps=[1, 2],
        layer_indices=[0, 2],
        num_inference_steps=3,
        return_pil_heatmaps=False,
        softmax_temperature=3.0,
        **SIZE,
    )
    scores = [torch.einsum("bhnd,bhcd->bcn", *seen[step, layer]) for step in (1, 2) for layer in (0, 2)]
    expected = (torch.stack(scores).mean(0)[0] / 3).softmax(dim=0).reshape(4, 4, 4)
    torch.testing.assert_close(found.cross_attention_maps, expected, rtol=1e-4, atol=1e-6)


def test_cross_attention_maps_of_cogvideox_have_two_softmaxes(cogvideox: ModifiedCogVideoXPipeline) -> None:
    from concept_attention.hosts.diffusers.record import record

    options: dict[str, Any] = {
        "num_frames": 9, "num_inference_steps": 2, "width": 64, "height": 48, "max_sequence_length": 24,
    }  # fmt: skip
    seen = Seen("rotated_image_q", "concept_k")
    with record(cogvideox, CONCEPTS, mode="cogvideox", pooling="first", max_tokens=24, on_vectors=seen):
        super(ModifiedCogVideoXPipeline, cogvideox).__call__(
            PROMPT, generator=torch.Generator().manual_seed(0), **options
        )
    _, found = cogvideox(
        PROMPT,
        concepts=CONCEPTS,
        layer_indices=[0, 2],
        generator=torch.Generator().manual_seed(0),
        **options,
    )
    steps = []
    for step in (0, 1):
        layers = []
        for layer in (0, 2):
            image, concept = seen[step, layer]
            concept = torch.cat([concept[:, :, :4], concept[:, :, 4:].expand(-1, -1, 222, -1)], dim=2)
            scores = torch.einsum("bhnd,bhcd->bhcn", image, concept).mean(1)
            layers.append(scores.softmax(dim=1)[0, :4])
        steps.append(torch.stack(layers).mean(0).softmax(dim=0))
    expected = torch.stack(steps).mean(0).reshape(4, 3, 3, 4)
    torch.testing.assert_close(found["cross_attention_maps"], expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    "name, axes", [("flux", "slbnd"), ("flux2", "bslnd"), ("sd3", "slbnd"), ("cogvideox", "sblnd")]
)
def test_vectors_are_returned_if_asked_for(name: str, axes: str, request: pytest.FixtureRequest) -> None:
    pipeline = request.getfixturevalue(name)
    steps = {"flux": "timesteps", "flux2": "timesteps"}.get(name, "timestep_indices")
    options: dict[str, Any] = {"concepts": CONCEPTS, "num_inference_steps": 3, "width": 64, "height": 48}
    options |= {"layer_indices": [0, 2], steps: [1, 2]}

    def run(**asked: Any) -> tuple[Any, Any, Any]:
        if name == "cogvideox":
            extra = {"num_frames": 9, "max_sequence_length": 24}
            _, found = pipeline(PROMPT, **extra, **options, **asked)
            return found["concept_output_vectors"], found["image_output_vectors"], found["recording"]
        found = pipeline.generate_image(PROMPT, **options, **asked)
        return found.concept_output_vectors, found.image_output_vectors, found.recording

    assert run()[:2] == (None, None)
    concepts, image, recording = run(cache_vectors=True)
    order = {"s": 2, "l": 2, "b": 1}
    tokens, width = (36 if name == "cogvideox" else 12), concepts.shape[-1]
    assert concepts.shape == (*(order[axis] for axis in axes[:3]), 4, width)
    assert image.shape == (*(order[axis] for axis in axes[:3]), tokens, width)
    concepts, image = (torch.einsum(f"{axes}->slbnd", one) for one in (concepts, image))
    scores = recording.scores[[1, 2]][:, [0, 2]]
    assert relative_error(torch.einsum("slbnd,slbcd->slbcn", image, concepts), scores) < 1e-5


def test_the_generator_gives_the_vectors_of_all_layers_and_steps(flux: ConceptAttentionFluxPipeline) -> None:
    generator = flux.flux_generator
    assert generator.model is flux.pipeline.transformer and generator.ae is flux.pipeline.vae and generator.is_schnell
    image, vectors = generator.generate_image(64, 64, 2, 0.0, 5, PROMPT, CONCEPTS)
    plain = flux.generate_image(PROMPT, CONCEPTS, num_inference_steps=2, seed=5, **SIZE)
    assert image.tobytes() == plain.image.tobytes()
    out = vectors["output_space_image_vectors"], vectors["output_space_concept_vectors"]
    assert relative_error(torch.einsum("slbnd,slbcd->slbcn", *out), plain.recording.scores) < 1e-5
    assert vectors["cross_attention_image_vectors"].shape[:3] == (2, 3, 1)
    assert vectors["cross_attention_concept_vectors"].shape[-2] == 4


@pytest.mark.parametrize("space", ["output", "value", "cross_attention"])
def test_the_basis_of_an_image_gives_its_scores(flux: ConceptAttentionFluxPipeline, space: str) -> None:
    options: dict[str, Any] = {
        "generator": flux.flux_generator, "target_space": space, "num_steps": 4, "noise_timestep": 2, "seed": 1, **SIZE
    }  # fmt: skip
    image, concepts, nothing = generate_concept_basis_and_image_representation(
        IMAGE, PROMPT, CONCEPTS, normalize_concepts=False, layers=[1, 2], num_samples=2, **options
    )
    assert nothing is None and image.shape[0] == 16 and concepts.shape[0] == 4
    pair = {"output": ("image_out", "concept_out"), "value": ("image_v", "concept_v")}
    seen = Seen(*pair.get(space, ("image_q", "concept_k")))
    from concept_attention.hosts.diffusers.analysis import analyze

    analyze(flux.pipeline, IMAGE, CONCEPTS, prompt=PROMPT, samples=2, seed=1, pooling="first", on_vectors=seen, **SIZE)
    expected = torch.zeros(4, 16)
    for at in ((0, 1), (0, 2), (1, 1), (1, 2)):
        expected += torch.einsum("...nd,...cd->...cn", *seen[at]).reshape(-1, 4, 16).sum(0)
    assert relative_error(concepts @ image.T, expected) < 1e-5
    kept, _, _ = generate_concept_basis_and_image_representation(IMAGE, PROMPT, CONCEPTS, reduce_dims=False, **options)
    assert kept.shape[:2] == (3, 1)


def test_texts_are_taken_word_for_word_and_may_be_repeated(flux: ConceptAttentionFluxPipeline) -> None:
    assert [(one.name, one.text) for one in literal_concepts(["ratio 16:9", "a, b"])] == [
        ("ratio 16:9", "ratio 16:9"),
        ("a, b", "a, b"),
    ]
    found = flux.generate_image(PROMPT, ["tree", "sky", "sky"], num_inference_steps=1, **SIZE)
    assert [(one.name, one.text) for one in found.recording.concepts] == [
        ("tree", "tree"),
        ("sky", "sky"),
        ("sky (2)", "sky"),
    ]
    scores = found.recording.scores
    assert torch.equal(scores[..., 1, :], scores[..., 2, :])


def test_steps_that_a_cache_skipped_are_still_counted(random_pipeline: Any) -> None:
    """With TaylorSeer the attention of most steps is not computed."""
    from diffusers import TaylorSeerCacheConfig

    pipeline = make_flux_pipeline(random_pipeline, make_flux())
    config = TaylorSeerCacheConfig(cache_interval=3, disable_cache_before_step=2, max_order=1)
    pipeline.transformer.enable_cache(config)
    ours = ConceptAttentionFluxPipeline(pipeline=pipeline)
    options: dict[str, Any] = {"num_inference_steps": 8, "return_pil_heatmaps": False, **SIZE}
    whole = ours.generate_image(PROMPT, CONCEPTS, **options)
    recorded = whole.recording.steps
    assert 2 < len(recorded) < 8 and recorded != tuple(range(len(recorded)))
    last = max(recorded)
    assert last >= len(recorded)
    one = ours.generate_image(PROMPT, CONCEPTS, timesteps=[last, *(set(range(8)) - {*recorded})], **options)
    shares = one.recording.scores[recorded.index(last), 1:, 0].softmax(dim=1).mean(0).reshape(4, 4, 4)
    torch.testing.assert_close(one.concept_heatmaps, shares, rtol=1e-5, atol=1e-6)
    skipped = next(step for step in range(8) if step not in recorded)
    with pytest.raises(UserError, match=rf"^None of the steps {skipped} was recorded: a cache skipped"):
        ours.generate_image(PROMPT, CONCEPTS, timesteps=[skipped], **options)


def test_maps_and_names_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"^Maps of 2 concepts are \(concepts, frames, rows, columns\), got \(3, 1, 2, 2\)"
    ):
        make_individual_videos(["sky", "house"], torch.zeros(3, 1, 2, 2), str(tmp_path))


def test_the_maps_of_an_animation_share_one_scale_and_separate_files_do_not(tmp_path: Path) -> None:
    maps = torch.stack([torch.full((2, 2, 2), 0.5), torch.tensor([[[0.0, 1.0]] * 2] * 2)])
    make_concept_attention_video(["sky", "house"], maps, tmp_path / "all.gif", color_map="gray")
    make_individual_videos(["sky", "house"], maps + torch.tensor([0.0, 0.5]), tmp_path, color_map="gray")

    def pixels(name: str) -> np.ndarray:
        return np.asarray(next(ImageSequence.Iterator(Image.open(tmp_path / name))).convert("L"))

    together = pixels("all.gif")
    assert abs(int(together[-1, 0]) - 127) <= 2 and together[-1, -1] >= 253 and together[-1, 320] <= 2
    alone = pixels("sky_attention_video.gif")
    assert alone.shape == (320, 320) and alone[-1, 0] <= 2 and alone[-1, -1] >= 253
