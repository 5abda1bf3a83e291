"""Analysing images: what the model is shown, what is recorded, and how little of the model runs."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from concept_attention.concepts import parse_concepts
from concept_attention.errors import UserError
from concept_attention.heatmaps.heatmaps import make_heatmaps
from concept_attention.hosts.diffusers.analysis import analyze
from concept_attention.hosts.diffusers.pipelines.request import Defaults

from ...support.diffusers.hooks import untouched
from ...support.diffusers.naive_flux import naive_flux
from ...support.numbers import naive_scores, relative_error

CONCEPTS = parse_concepts("house, tree", "sky")
SMALL: dict[str, Any] = {"width": 64, "height": 48, "max_tokens": 12}
CLOSE = 1e-5


def make_image(width: int = 64, height: int = 48, seed: int = 0) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC)


def tokens(pipeline: Any, image: Image.Image) -> Tensor:
    """Packed latents (1, N, 64) by the pipeline's own functions."""
    pixels = torch.from_numpy(np.array(image)).float().permute(2, 0, 1)[None] / 255 * 2 - 1
    with torch.no_grad():
        latents = pipeline.vae.encode(pixels).latents * pipeline.vae.config.scaling_factor
    return pipeline._pack_latents(latents, 1, *latents.shape[1:])


def packed_noise(pipeline: Any, height: int, width: int, seed: int = 0) -> Tensor:
    """Noise (1, N, 64) as ComfyUI and the authors' code draw it: for the VAE's latent, before it is packed."""
    fresh = torch.randn(1, 16, height, width, generator=torch.Generator().manual_seed(seed))
    return pipeline._pack_latents(fresh, *fresh.shape)


def embeddings(pipeline: Any) -> Tensor:
    ids = pipeline.tokenizer_2(["house", "tree", "sky"], padding="max_length", max_length=12, return_tensors="pt")
    with torch.no_grad():
        return pipeline.text_encoder_2(ids.input_ids)[0][:, 0]


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_a_flipped_analysis_is_the_mean_with_that_of_the_mirrored_image(pipeline: Any, dtype: str) -> None:
    image = make_image()
    progress: list[tuple[int, int]] = []
    both = analyze(
        pipeline, image, CONCEPTS, flip=True, samples=2, dtype=dtype, on_step=lambda *at: progress.append(at), **SMALL
    )
    mirrored = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    plain, other = (analyze(pipeline, one, CONCEPTS, samples=2, **SMALL) for one in (image, mirrored))
    assert both.steps == (0, 1, 2, 3) and both.sigmas == (0.5,) * 4 and both.image_size == plain.image_size
    assert progress == [(1, 4), (2, 4), (3, 4), (4, 4)]
    expected = (make_heatmaps(plain).values + make_heatmaps(other).values.flip(-1)) / 2
    assert torch.allclose(make_heatmaps(both).values, expected, atol=1e-5 if dtype == "float32" else 2e-3)
    presence = [make_heatmaps(one, kind="presence", steps="0").values for one in (plain, other)]
    assert torch.allclose(make_heatmaps(both, kind="presence", steps="2").values, presence[1].flip(-1), atol=2e-3)
    assert not torch.allclose(presence[0], presence[1].flip(-1), atol=2e-3)


def test_vectors_are_not_shown_of_a_mirrored_image(pipeline: Any) -> None:
    with pytest.raises(UserError, match="Leave out flip or on_vectors"):
        analyze(pipeline, make_image(), CONCEPTS, flip=True, on_vectors=lambda *_: None, **SMALL)


def test_the_model_is_shown_the_noised_image_and_recorded(pipeline: Any, captured: Any) -> None:
    calls = captured(pipeline.transformer)
    found = analyze(pipeline, make_image(), CONCEPTS, prompt="a red house", noise=0.3, seed=5, **SMALL)
    (shown,) = calls
    fresh = packed_noise(pipeline, 6, 8, seed=5)
    expected = 0.3 * fresh + 0.7 * tokens(pipeline, make_image())
    assert relative_error(shown["hidden_states"], expected) < CLOSE
    assert shown["timestep"].tolist() == pytest.approx([0.3])
    assert not shown["pooled_projections"].any() and shown["pooled_projections"].shape == (1, 64)
    guided = pipeline.transformer.config.guidance_embeds
    assert shown["guidance"].tolist() == [0.0] if guided else shown["guidance"] is None
    text, _, text_ids = pipeline.encode_prompt("a red house", max_sequence_length=12)
    assert relative_error(shown["encoder_hidden_states"], text.detach()) < CLOSE
    assert torch.equal(shown["txt_ids"], text_ids)
    rows, columns = torch.meshgrid(torch.arange(3), torch.arange(4), indexing="ij")
    assert torch.equal(shown["img_ids"][:, 1:], torch.stack([rows, columns], -1).reshape(-1, 2).float())

    twin = naive_scores(*naive_flux(pipeline.transformer, shown, embeddings(pipeline)))
    assert relative_error(found.scores[0], twin) < CLOSE
    assert (found.steps, found.sigmas, found.grid) == ((0,), (0.3,), (1, 3, 4))
    assert (found.metadata["prompt"], found.metadata["seed"]) == ("a red house", "5")


def test_a_full_autoencoders_mean_is_shifted_and_scaled(schnell: Any, captured: Any) -> None:
    from diffusers import AutoencoderKL

    torch.manual_seed(0)
    schnell.vae = AutoencoderKL(
        block_out_channels=(4, 4, 4, 4),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=16,
        norm_num_groups=2,
        scaling_factor=0.36,
        shift_factor=0.12,
    ).eval()
    calls = captured(schnell.transformer)
    for _ in range(2):
        analyze(schnell, make_image(), CONCEPTS, noise=0.25, **SMALL)
    pixels = torch.from_numpy(np.array(make_image())).float().permute(2, 0, 1)[None] / 127.5 - 1
    with torch.no_grad():
        latents = (schnell.vae.encode(pixels).latent_dist.mean - 0.12) * 0.36
    fresh = packed_noise(schnell, 6, 8)
    expected = 0.25 * fresh + 0.75 * schnell._pack_latents(latents, 1, *latents.shape[1:])
    assert relative_error(calls[0]["hidden_states"], expected) < CLOSE
    assert torch.equal(calls[1]["hidden_states"], calls[0]["hidden_states"])


@pytest.mark.parametrize("layers, joint", [("all", 3), ("auto", 3), ("1", 2), ("0", 1)])
def test_nothing_runs_after_the_last_kept_joint_block(
    schnell: Any, monkeypatch: pytest.MonkeyPatch, layers: str, joint: int
) -> None:
    ran: list[str] = []
    model = schnell.transformer
    for kind, blocks in (("joint", model.transformer_blocks), ("single", model.single_transformer_blocks)):
        for index, block in enumerate(blocks):
            forward = block.forward

            def noting(*args: Any, name: str = f"{kind} {index}", forward: Any = forward, **kwargs: Any) -> Any:
                ran.append(name)
                return forward(*args, **kwargs)

            noting.__wrapped__ = forward  # type: ignore[attr-defined]
            monkeypatch.setattr(block, "forward", noting)
    analyze(schnell, make_image(), CONCEPTS, layers=layers, samples=2, **SMALL)
    assert ran == [f"joint {index}" for index in range(joint)] * 2
    monkeypatch.undo()
    assert untouched(model)


def test_layers_equal_those_of_the_full_recording(schnell: Any) -> None:
    full = analyze(schnell, make_image(), CONCEPTS, **SMALL)
    some = analyze(schnell, make_image(), CONCEPTS, layers="0-1", **SMALL)
    assert some.layers == (0, 1)
    assert torch.equal(some.scores, full.scores[:, :2])


def test_samples_are_independent_noises_and_are_averaged(schnell: Any) -> None:
    several = analyze(schnell, make_image(), CONCEPTS, samples=3, seed=4, **SMALL)
    singles = [analyze(schnell, make_image(), CONCEPTS, seed=4 + sample, **SMALL) for sample in range(3)]
    assert (several.steps, several.sigmas) == ((0, 1, 2), (0.5,) * 3)
    assert torch.equal(several.scores, torch.cat([single.scores for single in singles]))
    maps = [make_heatmaps(single).values for single in singles]
    averaged = make_heatmaps(several).values
    assert relative_error(averaged, torch.stack(maps).mean(0)) < CLOSE
    assert all(relative_error(averaged, one) > 0.01 for one in maps)


def test_several_images_equal_single_ones(schnell: Any) -> None:
    images = [make_image(seed=seed) for seed in (0, 1)]
    both = analyze(schnell, images, CONCEPTS, prompt="a tree", **SMALL)
    assert both.batch == 2
    for index, one in enumerate(images):
        single = analyze(schnell, one, CONCEPTS, prompt="a tree", **SMALL)
        assert relative_error(single.scores[:, :, 0], both.scores[:, :, index]) < CLOSE
    assert relative_error(both.scores[:, :, 0], both.scores[:, :, 1]) > 0.01


def test_the_recording_belongs_to_the_original_image(schnell: Any, captured: Any) -> None:
    calls = captured(schnell.transformer)
    found = analyze(schnell, make_image(100, 50), CONCEPTS, width=96, height=48, max_tokens=12)
    assert (found.image_size, found.grid) == ((50, 100), (1, 3, 6))
    shown = make_image(100, 50).resize((96, 48), Image.Resampling.LANCZOS)
    fresh = packed_noise(schnell, 6, 12)
    expected = 0.5 * fresh + 0.5 * tokens(schnell, shown)
    torch.testing.assert_close(calls[0]["hidden_states"], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "size, sides, grid",
    [
        ((300, 200), {"width": 96}, (4, 6)),  # the other side keeps the image's aspect
        ((300, 200), {"height": 64}, (4, 6)),
        ((200, 300), {"width": 64}, (6, 4)),
        ((300, 200), {"width": 64, "height": 64}, (4, 4)),
        ((1000, 10), {"width": 96}, (1, 6)),
    ],
)
def test_the_grid_keeps_the_aspect(
    schnell: Any, size: tuple[int, int], sides: dict[str, int], grid: tuple[int, int]
) -> None:
    assert analyze(schnell, make_image(*size), CONCEPTS, max_tokens=12, **sides).grid == (1, *grid)


def test_the_models_own_size_is_kept_in_area(schnell: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    defaults = Defaults(side=64, steps=1, guidance=0.0, cfg=1.0, max_tokens=12)
    monkeypatch.setattr("concept_attention.hosts.diffusers.analysis.defaults_for", lambda pipeline: defaults)
    for size, grid in (((50, 50), (4, 4)), ((900, 400), (3, 6)), ((32, 512), (16, 1))):
        assert analyze(schnell, make_image(*size), CONCEPTS).grid == (1, *grid)


@pytest.mark.parametrize("mode", ["RGBA", "P", "L", "I;16"])
def test_any_kind_of_image_is_converted(schnell: Any, mode: str) -> None:
    """To what `images.from_pil` makes of it: transparency on white, 16 bits scaled, a palette looked up."""
    grey = np.asarray(make_image().convert("L"))
    if mode == "I;16":
        image = Image.fromarray(grey.astype(np.uint16) * 257)
        plain = Image.fromarray(grey)
    elif mode == "RGBA":
        image = make_image().convert("RGBA")
        image.putalpha(Image.fromarray(np.where(grey > 128, 255, 0).astype(np.uint8)))
        plain = Image.composite(make_image(), Image.new("RGB", (64, 48), "white"), image.getchannel("A"))
    else:
        image = make_image().convert(mode)
        plain = image
    found = analyze(schnell, image, CONCEPTS, **SMALL)
    expected = analyze(schnell, plain.convert("RGB"), CONCEPTS, **SMALL)
    assert torch.equal(found.scores, expected.scores)


def test_paths_arrays_and_tensors_are_images(schnell: Any, tmp_path: Path) -> None:
    image = make_image()
    image.save(tmp_path / "image.png")
    pixels = np.asarray(image)
    expected = analyze(schnell, image, ["house", "tree"], layers=1, **SMALL)
    given = [str(tmp_path / "image.png"), tmp_path / "image.png", pixels, torch.from_numpy(pixels / 255)]
    for one in given:
        found = analyze(schnell, one, "house, tree", layers=1, **SMALL)
        assert found.layers == (1,) and found.image_size == (48, 64)
        assert torch.equal(found.scores, expected.scores)


@pytest.mark.parametrize("part", ["vae", "text_encoder", "text_encoder_2"])
def test_a_pipeline_that_lacks_a_part_is_refused(schnell: Any, part: str) -> None:
    lacking = type(schnell)(**{**schnell.components, part: None})
    with pytest.raises(ValueError, match=rf"^This FluxPipeline has no {part}: it was loaded without\. Load it"):
        analyze(lacking, make_image(), CONCEPTS, **SMALL)


@pytest.mark.parametrize("noise", [1e-3, 1.0])
def test_the_ends_of_the_noise_range_are_allowed(schnell: Any, noise: float) -> None:
    found = analyze(schnell, make_image(), CONCEPTS, noise=noise, **SMALL)
    assert found.sigmas == (noise,)
    other = analyze(schnell, make_image(seed=1), CONCEPTS, noise=noise, **SMALL)
    assert torch.equal(other.scores, found.scores) == (noise == 1)  # only noise: whatever the image


@pytest.mark.parametrize(
    "options, message",
    [
        ({"noise": 0.0}, r"^Noise must be above 0 and at most 1, got 0\."),
        ({"noise": 1.5}, r"^Noise must be above 0 and at most 1, got 1\.5\."),
        ({"noise": float("nan")}, r"^Noise must be above 0 and at most 1, got nan\."),
        ({"samples": 0}, r"^There must be at least one noise sample, got 0\.$"),
        ({"image": []}, r"^There is no image"),
        ({"image": [make_image(), make_image(48, 64)]}, r"^Images of a batch must have one size, got .*one by one\.$"),
        ({"width": 50}, r"^Width must be a positive multiple of 16, got 50\. Try 48\.$"),
        ({"height": 0}, r"^Height must be a positive multiple of 16, got 0\. Try 16\.$"),
        ({"dtype": "int8"}, r"^dtype 'int8' does not exist\. Choose one of float32, float16\.$"),
        ({"image": 3}, r"^An image is a path, a Pillow image, an array or a tensor, got int\."),
        ({"concepts": 3}, r"^A concept is a text, or comes from `parse_concepts`; got int\."),
        ({"layers": "19"}, r"^Layer 19 does not exist"),
        ({"pooling": "max"}, r"^Pooling 'max' does not exist"),
    ],
)
def test_what_cannot_be_analysed_is_refused(schnell: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        analyze(schnell, **{"image": make_image(), "concepts": CONCEPTS, **SMALL, **options})
    assert "\n" not in str(error.value)
    assert untouched(schnell.transformer)


def test_nothing_stays_on_the_model_after_an_interrupt(schnell: Any) -> None:
    def stop(*step: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        analyze(schnell, make_image(), CONCEPTS, on_step=stop, **SMALL)
    assert untouched(schnell.transformer)


def test_progress_is_told_after_every_sample(schnell: Any) -> None:
    steps: list[tuple[int, int]] = []
    analyze(schnell, make_image(), CONCEPTS, samples=2, on_step=lambda *step: steps.append(step), **SMALL)
    assert steps == [(1, 2), (2, 2)]


def test_the_random_numbers_of_the_caller_are_left_alone(schnell: Any) -> None:
    before = torch.get_rng_state()
    analyze(schnell, make_image(), CONCEPTS, **SMALL)
    assert torch.equal(torch.get_rng_state(), before)


def test_unknown_words_of_a_prompt_are_warned_of(schnell: Any, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "concept_attention"):
        analyze(schnell, make_image(), CONCEPTS, prompt="a red castle", **SMALL)
    assert 'does not know every word in "a red castle"' in caplog.text
