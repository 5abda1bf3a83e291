"""The Chroma adapter, beside its tiny models: sizes, pixels, guidance."""

from __future__ import annotations

import types

from concept_attention.hosts.comfyui.adapters.chroma import Chroma

from ....support.comfyui.architectures.chroma import VARIANTS
from ....support.comfyui.recording_spy import recording_of
from ....support.comfyui.tiny import make_flux
from ....support.numbers import relative_error

CLOSE = 1e-5
CHROMA, RADIANCE = VARIANTS


def test_default_layers_of_the_full_size_are_those_of_flux() -> None:
    network = types.SimpleNamespace(
        double_blocks=range(19),
        single_blocks=range(38),
        patch_size=2,
        params=types.SimpleNamespace(context_in_dim=4096),
    )
    found = Chroma().describe(types.SimpleNamespace(diffusion_model=network))
    assert (found.default_layers, found.concept_position) == ((15, 16, 17, 18), 0)


def test_flux_is_not_matched() -> None:
    assert not Chroma().matches(make_flux().model)


def test_radiance_maps_pixels() -> None:
    """Its latent is the image itself."""
    recording = recording_of(RADIANCE.make(), positive=RADIANCE.cond(), latent=RADIANCE.empty(), steps=1)
    assert (recording.grid, recording.image_size) == ((1, 6, 4), (96, 64))


def test_concepts_have_the_guidance_of_the_positive_prompt() -> None:
    model, scores = CHROMA.make(), {}
    for guidance in (0.0, 4.0):
        positive = [[text, {**options, "guidance": guidance}] for text, options in CHROMA.cond()]
        options = {"positive": positive, "latent": CHROMA.empty(), "steps": 1}
        alone = recording_of(model, **options)
        negative = CHROMA.cond(seed=3)
        guided = recording_of(model, cfg=4.0, negative=negative, **options)
        assert relative_error(guided.scores, alone.scores) < CLOSE
        scores[guidance] = alone.scores
    assert relative_error(scores[4.0], scores[0.0]) > 100 * CLOSE
