"""The landscape model's concept maps inside ComfyUI: right about what is where, and the same as in diffusers."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

pytest.importorskip("diffusers")

from concept_attention.hosts.comfyui.analysis import analyze, seeded_noise
from concept_attention.hosts.comfyui.encoding.encode import encode_concepts
from concept_attention.hosts.comfyui.engine.settings import Settings
from concept_attention.hosts.diffusers import analyze as in_diffusers
from concept_attention.hosts.diffusers import load_pipeline
from concept_attention.hosts.diffusers.pipelines.cogvideox import CogVideoXFamily
from concept_attention.hosts.diffusers.pipelines.flux import FluxFamily
from concept_attention.hosts.diffusers.pipelines.flux2 import Flux2Family
from concept_attention.hosts.diffusers.pipelines.sd3 import SD3Family
from concept_attention.hosts.diffusers.transformers.flux import pack_latents
from concept_attention.recording.recording import Recording
from concept_attention.tiny.comfyui.loader import load_landscape
from concept_attention.tiny.evaluation.landscapes import noise_seed, scene_concepts, score_landscapes, unseen_seed
from concept_attention.tiny.world.scenes import Scene, draw_scene

CLOSE = 1e-4  # of the largest score
SIZE = (256, 192)


@functools.cache
def landscape() -> tuple[Any, Any, Any]:
    return load_landscape()


@functools.cache
def pipeline() -> Any:
    return load_pipeline("tiny", device="cpu")


def pixels(scene: Scene) -> Tensor:
    """The scene's picture as an IMAGE, (1, H, W, 3)."""
    return torch.from_numpy(scene.image.astype(np.float32) / 255)[None]


@torch.inference_mode()
def look(scene: Scene, prompt: str | None = None, noise: float = 0.3, **options: Any) -> Recording:
    """What a graph of VAE Encode, Concept Encode and the analysis does."""
    model, clip, vae = landscape()
    settings = Settings(encode_concepts(clip, scene_concepts(scene)), layers=options.pop("layers", "auto"))
    positive = None if prompt is None else clip.encode_from_tokens_scheduled(clip.tokenize(prompt))
    latent = {"samples": vae.encode(pixels(scene))}
    return analyze(model, settings, latent, positive, noise, seed=noise_seed(scene), **options)


def look_in_diffusers(scene: Scene, prompt: str, noise: float) -> Recording:
    """The other host's analysis, with the same seed."""
    picture = Image.fromarray(scene.image)
    width, height = picture.size
    options: dict[str, Any] = {"width": width, "height": height, "seed": noise_seed(scene)}
    return in_diffusers(pipeline(), picture, scene_concepts(scene), prompt=prompt, noise=noise, **options)


@pytest.mark.parametrize(("prompt", "noise"), [("", 0.3), ("a red house and a tree on grass", 0.7)])
def test_two_hosts_record_the_same_scores(prompt: str, noise: float) -> None:
    scene = draw_scene(unseen_seed(5, 0), *SIZE)
    ours = look(scene, prompt or None, noise, layers="all")
    theirs = look_in_diffusers(scene, prompt, noise)
    assert (ours.grid, ours.layers, ours.concepts) == (theirs.grid, theirs.layers, theirs.concepts)
    assert (ours.mode, ours.default_layers, ours.image_size) == (theirs.mode, theirs.default_layers, theirs.image_size)
    assert ours.sigmas == pytest.approx(theirs.sigmas)
    assert float((ours.scores - theirs.scores).abs().max()) <= CLOSE * float(theirs.scores.abs().max())


@pytest.mark.parametrize(
    ("family", "shape", "packed"),
    [
        (FluxFamily(), (16, 6, 10), lambda latent: pack_latents(latent[None])[0]),
        (Flux2Family(), (128, 3, 5), lambda latent: latent.flatten(1).T),
        (SD3Family(), (16, 6, 10), lambda latent: latent),
        (CogVideoXFamily(), (16, 4, 6, 10), lambda latent: latent.transpose(0, 1)),
    ],
    ids=lambda value: getattr(value, "title", ""),
)
def test_a_seed_is_the_same_noise_in_both_hosts(family: Any, shape: tuple[int, ...], packed: Any) -> None:
    """`shape` is that of ComfyUI's latents, without the batch; `packed` is how the transformer takes them."""
    from diffusers import Flux2KleinPipeline

    theirs = seeded_noise(torch.zeros(1, *shape), 11)[0]
    ours = family.fresh_noise(torch.zeros(shape), 11)
    assert torch.equal(ours, theirs)
    shown = family.shown(Flux2KleinPipeline, {}, ours[None])["hidden_states"]
    assert torch.equal(shown[0], packed(theirs))


def test_a_recording_says_that_its_size_is_beyond_what_the_model_was_trained_on() -> None:
    small = look(draw_scene(unseen_seed(5, 1), 128, 128))
    assert "The landscape model at 128 x 128 pixels" in small.metadata["cautions"]
    assert "cautions" not in look(draw_scene(unseen_seed(5, 1), 384, 256)).metadata


def test_maps_of_24_unseen_scenes_meet_the_bars() -> None:
    figures = score_landscapes(look, 24, 1, 256, 256)
    assert figures.pixel_accuracy >= 0.95
    assert figures.mean_iou >= 0.82
    assert figures.absent_rate <= 0.01
