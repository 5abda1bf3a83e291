"""The CogVideoX adapter: one weighted pad token for 226, sizes and frames of 1.5, a first image, precision."""

from __future__ import annotations

import dataclasses
import types
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

pytest.importorskip("comfy.ldm.cogvideo.model", reason="needs ComfyUI: this one has no CogVideoX")

from comfy.ldm.cogvideo.model import CogVideoXTransformer3DModel
from comfy.patcher_extension import WrappersMP

from concept_attention.heatmaps.heatmaps import make_heatmaps
from concept_attention.heatmaps.masks import make_masks
from concept_attention.hosts.architecture import Architecture
from concept_attention.hosts.comfyui.adapters.cogvideox import CogVideoX
from concept_attention.hosts.comfyui.analysis import analyze
from concept_attention.hosts.comfyui.engine.settings import Settings
from concept_attention.recording.recording import Recording

from ....support.comfyui.architectures.cogvideox import VARIANTS
from ....support.comfyui.recording_spy import make_encoded, recording_of
from ....support.numbers import relative_error

CLOSE = 1e-5
B5, B2, LONG, FROM_IMAGE = VARIANTS
PADDED = 226


def recorded(tiny: Any, count: int = 3, mode: str = "cogvideox", **options: Any) -> Recording:
    settings = Settings(make_encoded(count, width=tiny.text_width), mode=mode)
    options = {"positive": tiny.cond(), "latent": tiny.empty(2), "steps": 2, **options}
    return recording_of(tiny.make(), settings, **options)


def scores_of_all_tokens(tiny: Any, count: int, monkeypatch: pytest.MonkeyPatch) -> Tensor:
    """Scores (S, L, B, 226, N) where every pad token is a token of its own, and none has a weight."""
    embeddings = make_encoded(count, width=tiny.text_width).embeddings
    all_rows = make_encoded(PADDED, width=tiny.text_width)
    object.__setattr__(all_rows, "embeddings", F.pad(embeddings, (0, 0, 0, PADDED - count)))
    settings = Settings(all_rows)
    options = {"positive": tiny.cond(), "latent": tiny.empty(2), "steps": 2}
    recording = recording_of(tiny.make(), settings, **options)
    assert recording.pad_scores is None and recording.pad_count == 0
    return recording.scores


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("tiny", [B5, B2, LONG], ids=lambda tiny: tiny.name)
def test_one_weighted_pad_token_is_all_of_them(tiny: Any, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    found, expected = recorded(tiny, count), scores_of_all_tokens(tiny, count, monkeypatch)
    assert found.mode == "cogvideox" and found.pad_count == PADDED - count
    assert relative_error(found.scores, expected[:, :, :, :count]) < CLOSE
    for token in (count, PADDED - 1):
        assert relative_error(found.pad_scores, expected[:, :, :, token]) < CLOSE
    layers = [found.layers.index(layer) for layer in found.default_layers]
    shares = expected[:, layers].softmax(dim=3).mean(dim=(0, 1))[:, :count]
    assert float((make_heatmaps(found).values.flatten(2) - shares).abs().max()) < CLOSE
    assert float(shares.std()) > 100 * CLOSE


def test_pad_tokens_are_seen_by_the_concepts_in_every_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    padded, usual = recorded(B5), recorded(B5, mode="auto")
    assert usual.mode == "flux" and usual.pad_count == PADDED - 3
    for name in ("scores", "norms", "pad_scores"):
        assert torch.equal(getattr(usual, name), getattr(padded, name))
    assert torch.equal(make_heatmaps(usual, mode="cogvideox").values, make_heatmaps(padded).values)
    assert torch.equal(make_heatmaps(padded, mode="flux").values, make_heatmaps(usual).values)
    own = CogVideoX().describe
    monkeypatch.setattr(CogVideoX, "describe", lambda self, model: dataclasses.replace(own(model), padded_tokens=0))
    without = recorded(B5, mode="flux")
    assert without.pad_scores is None
    assert relative_error(padded.scores, without.scores) > 100 * CLOSE


@pytest.mark.parametrize("tiny", [B5, B2, LONG], ids=lambda tiny: tiny.name)
def test_masks_can_be_made_by_default_where_the_authors_shares_are_near_zero(tiny: Any) -> None:
    """Weights that favour nothing leave little to 3 of 226 tokens."""
    padded = make_heatmaps(recorded(tiny))
    assert float(padded.values.sum(dim=1).mean()) < 0.2
    found = recorded(tiny, mode="auto")
    heatmaps = make_heatmaps(found)
    torch.testing.assert_close(heatmaps.values.sum(dim=1), torch.ones_like(heatmaps.values[:, 0]))
    names = [concept.name for concept in found.concepts]
    soft = [make_masks(heatmaps, name) for name in names]
    torch.testing.assert_close(sum(soft), torch.ones_like(soft[0]))
    won = torch.stack([make_masks(heatmaps, name, "argmax") for name in names])
    assert torch.equal(won.sum(dim=0), torch.ones_like(won[0]))
    half = [float(make_masks(one, names, "threshold").mean()) for one in (padded, heatmaps)]
    assert half[0] < 0.02 and half[1] == 1  # of the tokens, all concepts together have more than half


def full_size(blocks: int, **sizes: Any) -> Architecture:
    patch_embed = types.SimpleNamespace(text_proj=types.SimpleNamespace(in_features=4096))
    network = object.__new__(CogVideoXTransformer3DModel)
    torch.nn.Module.__init__(network)
    values = {
        "blocks": range(blocks),
        "patch_embed": patch_embed,
        "patch_size": 2,
        "patch_size_t": None,
        "temporal_compression_ratio": 4,
        **sizes,
    }
    for name, value in values.items():
        setattr(network, name, value)
    model = types.SimpleNamespace(diffusion_model=network)
    assert CogVideoX().matches(model)
    return CogVideoX().describe(model)


def test_full_size_models_are_described() -> None:
    """The authors' example takes the first 30 of 5B's 42 layers; 2B has 30."""
    found = full_size(42)
    assert (found.layer_count, found.text_width) == (42, 4096)
    assert (found.default_layers, found.frame_patch, found.frames_per_latent) == (tuple(range(30)), 1, 4)
    assert full_size(30).default_layers == tuple(range(21))
    assert full_size(42, patch_size_t=2).frame_patch == 2


@pytest.mark.parametrize(
    ("tiny", "shape", "grid", "counts"),
    [
        (B5, (1, 16, 5, 6, 8), (5, 3, 4), (1, 4, 4, 4, 4)),
        (B5, (1, 16, 3, 7, 5), (3, 4, 3), (1, 4, 4)),
        (B5, (1, 16, 1, 6, 8), (1, 3, 4), None),
        (LONG, (1, 16, 4, 6, 8), (2, 3, 4), (5, 8)),
        (LONG, (1, 16, 5, 6, 8), (3, 3, 4), (5, 8, 4)),
        (LONG, (1, 16, 2, 6, 8), (1, 3, 4), (5,)),
    ],
)
def test_tokens_know_the_video_frames_they_stand_for(
    tiny: Any, shape: tuple[int, ...], grid: tuple[int, int, int], counts: tuple[int, ...] | None
) -> None:
    found = recorded(tiny, latent=torch.zeros(shape), steps=1)
    assert (found.grid, found.frame_counts) == (grid, counts)
    assert found.image_size == (8 * shape[-2], 8 * shape[-1])
    assert found.video == (counts is not None)
    if counts is not None:
        assert sum(counts) == 4 * (shape[2] - 1) + 1


def test_a_first_image_is_no_token() -> None:
    cond = FROM_IMAGE.cond()
    cond[0][1]["concat_latent_image"] = torch.randn(1, 16, 1, 12, 8, generator=torch.Generator().manual_seed(1))
    found = recorded(FROM_IMAGE, positive=cond)
    assert found.grid == (3, 6, 4)
    assert relative_error(found.scores, recorded(FROM_IMAGE).scores) > 100 * CLOSE


def test_existing_videos_are_shown_with_the_noise_of_training() -> None:
    """The host hands this model what the sampler has, and leaves it to samplers to scale it."""
    shown: list[Tensor] = []

    def note(executor: Any, x: Tensor, *rest: Any, **options: Any) -> Tensor:
        shown.append(x.clone())
        return executor(x, *rest, **options)

    model = B5.make()
    model.add_wrapper_with_key(WrappersMP.APPLY_MODEL, "test", note)
    latent = torch.randn(1, 16, 3, 12, 8, generator=torch.Generator().manual_seed(2))
    settings = Settings(make_encoded(width=B5.text_width))
    found = analyze(model, settings, {"samples": latent}, B5.cond(), noise=0.6, seed=5)
    noise = torch.randn(16, 3, 12, 8, generator=torch.Generator().manual_seed(5))
    scaled = model.model.latent_format.process_in(latent)
    assert torch.allclose(shown[0], 0.8 * scaled + 0.6 * noise, atol=CLOSE)
    assert found.sigmas == pytest.approx((0.6,), abs=1e-3) and found.frame_counts == (1, 4, 4)


def test_half_precision_keeps_what_the_host_keeps_in_float32() -> None:
    model = B5.make(dtype=torch.bfloat16)
    assert model.model.diffusion_model.patch_embed.text_proj.weight.dtype == torch.float32
    encoded = make_encoded(width=B5.text_width)
    found = recording_of(model, Settings(encoded), positive=B5.cond(), latent=B5.empty(), steps=1)
    expected = recording_of(B5.make(), Settings(encoded), positive=B5.cond(), latent=B5.empty(), steps=1)
    assert relative_error(found.scores, expected.scores) < 0.05
