"""What is particular to LTX: newer models, pictures that a video begins with, and guides behind it."""

from __future__ import annotations

import dataclasses
import inspect
from typing import Any

import pytest
import torch
from torch import Tensor

from concept_attention.hosts.comfyui.engine.settings import Settings
from concept_attention.hosts.comfyui.patching import collect, patch_model

from ....support.comfyui.cross_attention.tiny_cross import Attended, TinyCross
from ....support.comfyui.recording_spy import footprint, recording_of
from ....support.comfyui.tiny import sample
from ....support.numbers import relative_error
from .test_cross_attention import CLOSE, concepts_of, equal, named, options_of


def maps(calls: list[Attended], tiny: TinyCross, tokens: int) -> Tensor:
    """The mean over heads of the attention to the first tokens of the prompt, of every layer, (L, B, tokens, N)."""
    return torch.stack([attended.weights.mean(1)[..., :tokens].transpose(1, 2) for attended in calls[: tiny.layers]])


@pytest.mark.parametrize(
    "config",
    [
        {"use_prompt_adaln_single": False},
        {"use_prompt_adaln_single": False, "cross_attention_adaln": False},
        {"use_keyframes_abs_pos_embedding": True, "ff_bias": False},
    ],
)
def test_what_newer_ltx_models_may_lack_or_have(config: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """A text that every layer scales and shifts alike at all noise levels, or not at all."""
    av_model = pytest.importorskip("comfy.ldm.lightricks.av_model")
    tiny, own = named("LTX-2.3, LTX-2.5"), av_model.apply_cross_attention_adaln
    if "use_prompt_adaln_single" not in inspect.signature(av_model.LTXAVModel.__init__).parameters:
        pytest.skip("this ComfyUI has LTX-2.3 at most")

    def with_any_text(*args: Any) -> Tensor:  # 0.33 builds such a model and cannot run it
        table, timestep = args[6:8]
        return own(*args[:7], table.new_zeros(1, 1, table.numel()) if timestep is None else timestep, *args[8:])

    monkeypatch.setattr(av_model, "apply_cross_attention_adaln", with_any_text)
    tiny = dataclasses.replace(tiny, config={**tiny.config, **config})
    model, prompt = tiny.make(), tiny.cond()
    texts = tiny.texts(prompt)
    with tiny.observed() as calls:
        recording = recording_of(model, Settings(concepts_of(texts)), **options_of(tiny, positive=prompt, steps=1))
    assert relative_error(recording.scores[0].exp(), maps(calls, tiny, len(texts))) < CLOSE


def test_a_video_that_begins_with_a_picture_is_recorded() -> None:
    """LTXVImgToVideoInplace: the noise of its first latent frame is masked, and no two frames have the same noise."""
    tiny = named("LTX Video")
    model, prompt = tiny.make(), tiny.cond()
    latent = torch.randn(tiny.latent, generator=torch.Generator().manual_seed(4))
    mask = torch.tensor([0.0, 1.0, 0.5]).view(1, 1, 3, 1, 1)
    options = options_of(tiny, positive=prompt, latent=latent, noise_mask=mask, steps=1)
    plain, before = sample(model, **options), footprint(model)
    settings = Settings(concepts_of(tiny.texts(prompt)))
    with tiny.observed() as calls:
        sampled = sample(patched := patch_model(model, settings), **options)
    assert equal(sampled, plain) and footprint(model) == before
    expected = maps(calls, tiny, len(settings.encoded.concepts))
    assert relative_error(collect({"samples": sampled}, patched).scores[0].exp(), expected) < CLOSE


def test_guides_are_cut_off_the_maps_with_their_frames() -> None:
    """LTXVAddGuide puts the guides' frames behind the video's, LTXVCropGuides takes them away."""
    core = pytest.importorskip("comfy_extras.nodes_lt")
    tiny = named("LTX Video")
    model, video = tiny.make(), torch.zeros(tiny.latent)
    guide = torch.randn(1, 128, 1, *tiny.latent[3:], generator=torch.Generator().manual_seed(4))
    positive, negative, latent, mask = core.LTXVAddGuide.append_keyframe(
        tiny.cond(), tiny.cond(seed=3), 0, video, torch.ones(1, 1, 3, 1, 1), guide, 1.0, (8, 32, 32)
    )
    settings = Settings(concepts_of(tiny.texts(positive)))
    patched = patch_model(model, settings)
    options = {"positive": positive, "negative": negative, "latent": latent, "noise_mask": mask, "steps": 1}
    with dataclasses.replace(tiny, grids=((16, 6),)).observed() as calls:
        sampled = sample(patched, **options)
    assert equal(sampled, sample(model, **options))
    whole = collect({"samples": sampled}, patched)
    cropped = core.LTXVCropGuides.execute(positive, negative, {"samples": sampled, "noise_mask": mask})[2]
    part = collect(cropped, patched)
    assert (whole.grid, part.grid, part.frame_counts) == ((4, 4, 6), (3, 4, 6), (1, 8, 8))
    expected = maps(calls, tiny, len(settings.encoded.concepts))[..., :72]
    assert relative_error(part.scores[0].exp(), expected) < CLOSE
