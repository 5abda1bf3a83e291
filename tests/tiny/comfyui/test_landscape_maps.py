"""The landscape model's concept maps inside ComfyUI: right about what is where, and the same as in diffusers."""

from __future__ import annotations

import contextlib
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
from concept_attention.hosts.diffusers import analysis, load_pipeline
from concept_attention.hosts.diffusers.encode import encode_concepts as encode_in_diffusers
from concept_attention.hosts.diffusers.recorder import Recorder
from concept_attention.hosts.diffusers.registry import family_of
from concept_attention.hosts.diffusers.stream import StopForward
from concept_attention.hosts.diffusers.transformers import flux
from concept_attention.recording.recording import Recording
from concept_attention.tiny.comfyui.loader import load_landscape
from concept_attention.tiny.evaluation.landscapes import noise_seed, scene_concepts, score_landscapes, unseen_seed
from concept_attention.tiny.world.scenes import Scene, draw_scene

CLOSE = 1e-4  # of the largest score
SIZE = (256, 192)


@functools.cache
def landscape() -> tuple[Any, Any, Any]:
    return load_landscape()


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


@torch.no_grad()
def look_in_diffusers(scene: Scene, prompt: str, noise: float) -> Recording:
    """The other host's analysis, with this host's noise: each draws it in the layout of its own latents."""
    pipeline = load_pipeline("tiny", device="cpu")
    longest = pipeline.tokenizer_2.model_max_length
    picture = Image.fromarray(scene.image)
    rows, columns = picture.height // 16, picture.width // 16
    encoded = encode_in_diffusers(pipeline, scene_concepts(scene), max_tokens=longest)
    recorder = Recorder(pipeline, encoded, "all", "auto", rows * columns)
    size = picture.width, picture.height
    family = family_of(pipeline)
    latents = family.encode_images(pipeline, analysis._pixels([picture], *size))
    fresh = flux.pack_latents(seeded_noise(flux.unpack_latents(latents, rows), noise_seed(scene)))
    inputs = family.conditions(pipeline, prompt, latents, *size, noise, longest)
    with recorder.watching(stop_after_last_layer=True):
        with contextlib.suppress(StopForward):
            pipeline.transformer(hidden_states=noise * fresh + (1 - noise) * latents, **inputs)
        recorder.commit(0, noise)
    return recorder.build((1, rows, columns), (picture.height, picture.width), {})


@pytest.mark.parametrize(("prompt", "noise"), [("", 0.3), ("a red house and a tree on grass", 0.7)])
def test_two_hosts_record_the_same_scores(prompt: str, noise: float) -> None:
    scene = draw_scene(unseen_seed(5, 0), *SIZE)
    ours = look(scene, prompt or None, noise, layers="all")
    theirs = look_in_diffusers(scene, prompt, noise)
    assert (ours.grid, ours.layers, ours.concepts) == (theirs.grid, theirs.layers, theirs.concepts)
    assert (ours.mode, ours.default_layers, ours.image_size) == (theirs.mode, theirs.default_layers, theirs.image_size)
    assert ours.sigmas == pytest.approx(theirs.sigmas)
    assert float((ours.scores - theirs.scores).abs().max()) <= CLOSE * float(theirs.scores.abs().max())


def test_maps_of_24_unseen_scenes_meet_the_bars() -> None:
    figures = score_landscapes(look, 24, 1, 256, 256)
    assert figures.pixel_accuracy >= 0.95
    assert figures.mean_iou >= 0.82
    assert figures.absent_rate <= 0.01
