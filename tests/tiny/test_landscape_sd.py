"""The landscape model that nobody taught, on diffusers."""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("diffusers")

from concept_attention.hosts.diffusers.loading import load_pipeline
from concept_attention.tiny.world.scenes import draw_scene


def test_its_autoencoder_shows_what_it_was_shown() -> None:
    """ComfyUI takes that of the Flux landscape model, so that nothing else would notice."""
    vae = load_pipeline("tiny-sd", device="cpu").vae
    image = torch.from_numpy(draw_scene(5, 128, 128).image).permute(2, 0, 1)[None] / 127.5 - 1
    with torch.no_grad():
        shown = vae.decode(vae.encode(image).latents).sample
    assert (shown - image).abs().mean() < 0.05
