"""Blocks and samplers as other packs change them: recorded where that can be right, else sampled with the reason.

Each stand-in has a pack's mechanism, which its docstring names, and nothing else of it.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import comfy.ldm.flux.math
import comfy.ldm.modules.attention
import comfy.ldm.modules.diffusionmodules.mmdit as mmdit
import comfy.samplers
import pytest
import torch
import torch.nn.functional as F
from comfy.ldm.flux.layers import DoubleStreamBlock
from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ....support.comfyui.architectures.flux2 import VARIANTS as FLUX2_VARIANTS
from ....support.comfyui.architectures.sd3 import VARIANTS as SD3_VARIANTS
from ....support.comfyui.recording_spy import footprint, recording_model, recording_of, sample_and_record
from ....support.comfyui.settings import make_settings
from ....support.comfyui.tiny import make_cond, make_flux, make_latent, sample
from ....support.numbers import relative_error

CLOSE = 1e-5
FLUX2 = FLUX2_VARIANTS[-1]


@pytest.fixture
def pytorch_attention(monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch's attention in ComfyUI's blocks, as on most GPUs; on the CPU it is another."""
    own = comfy.ldm.modules.attention.attention_pytorch
    monkeypatch.setattr(comfy.ldm.flux.math, "optimized_attention", own)
    monkeypatch.setattr(mmdit, "optimized_attention", own)


class BlockWithoutOptions(DoubleStreamBlock):  # type: ignore[misc]
    """RES4LYF's ReFlux: the class of the block is replaced, and `forward` takes no `transformer_options`."""

    def forward(self, img: Tensor, txt: Tensor, vec: Tensor, pe: Tensor, mask: Any = None, idx: int = 0) -> Any:
        return DoubleStreamBlock.forward(self, img, txt, vec, pe, attn_mask=mask)


class BlockThatKeepsOptions(DoubleStreamBlock):  # type: ignore[misc]
    """Fluxtapoz: `forward` takes the options and does not hand them to its attention."""

    def forward(self, img: Tensor, txt: Tensor, vec: Tensor, pe: Tensor, transformer_options: Any = None) -> Any:
        return DoubleStreamBlock.forward(self, img, txt, vec, pe)


class BlockOfTwoTexts(DoubleStreamBlock):  # type: ignore[misc]
    """NAG: more texts than images, and an attention with each."""

    def forward(self, img: Tensor, txt: Tensor, vec: Tensor, pe: Tensor, **_: Any) -> Any:
        other, _ = DoubleStreamBlock.forward(self, img.clone(), txt[1:].clone(), vec, pe)
        img, positive = DoubleStreamBlock.forward(self, img, txt[:1].clone(), vec, pe)
        return img * 0.9 + other * 0.1, torch.cat([positive, txt[1:]])


def with_blocks(kind: type, **options: Any) -> ModelPatcher:
    """A model whose joint blocks are of this class while it is loaded, called without ComfyUI's options."""
    model = make_flux(joint_blocks=2, single_blocks=1)
    blocks = model.model.diffusion_model.double_blocks

    def call(layer: int) -> Callable[..., Any]:
        def run(args: dict[str, Any], _: Any) -> dict[str, Any]:
            text = args["txt"]
            if kind is BlockOfTwoTexts:
                text = torch.cat([text, -text])
            img, txt = blocks[layer](img=args["img"], txt=text, vec=args["vec"], pe=args["pe"], **options)
            return {"img": img, "txt": txt[: len(args["txt"])]}

        return run

    for layer in range(2):
        model.add_object_patch(f"diffusion_model.double_blocks.{layer}.__class__", kind)
        model.set_model_patch_replace(call(layer), "dit", "double_block", layer)
    return model


@pytest.mark.usefixtures("pytorch_attention")
@pytest.mark.parametrize("cfg", [1.0, 4.0])
@pytest.mark.parametrize("kind", [BlockWithoutOptions, BlockThatKeepsOptions])
def test_blocks_that_hand_no_options_on_are_recorded_as_comfyui_s_own(kind: type, cfg: float) -> None:
    options: dict[str, Any] = {"transformer_options": {}} if kind is BlockThatKeepsOptions else {}
    model = with_blocks(kind, **options)
    before = footprint(model)
    plain = sample(model, cfg=cfg)
    latent, result = sample_and_record(model, cfg=cfg)
    assert torch.equal(latent, plain) and footprint(model) == before
    expected = recording_of(make_flux(joint_blocks=2, single_blocks=1), cfg=cfg)
    assert result.recording is not None, result.reason
    assert result.recording.metadata["steps"] == "3 of 3 steps recorded"
    assert relative_error(result.recording.scores, expected.scores) < CLOSE


def test_an_attention_that_cannot_be_observed_is_named_and_the_run_goes_on() -> None:
    model = with_blocks(BlockWithoutOptions)
    latent, result = sample_and_record(model)
    assert torch.equal(latent, sample(model))
    assert result.recording is None
    assert f"joint block 0 runs code of {__name__}, whose attention cannot be observed" in result.reason


def _without_options(attention: Callable[..., Tensor], *args: Any, **_: Any) -> Tensor:
    return attention(*args, skip_reshape=True)


def test_a_block_with_an_attention_of_its_own_is_named_though_later_ones_could_be_observed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Concepts that have not been through the blocks before them would give other maps."""
    own = comfy.ldm.modules.attention.attention_pytorch
    model = make_flux(joint_blocks=2, single_blocks=1)

    def sparse(args: dict[str, Any], extra: dict[str, Any]) -> Any:
        with monkeypatch.context() as patched:
            unseen = functools.partial(_without_options, own)
            patched.setattr(comfy.ldm.flux.math, "optimized_attention", unseen)
            return extra["original_block"](args)

    model.set_model_patch_replace(sparse, "dit", "double_block", 0)
    latent, result = sample_and_record(model, make_settings(layers="1"))
    assert torch.equal(latent, sample(model))
    assert result.recording is None
    assert "joint block 0 runs code of another pack or node, whose attention cannot be observed" in result.reason


@pytest.mark.usefixtures("pytorch_attention")
def test_two_texts_in_one_block_are_named_and_never_mistaken_for_the_prompt() -> None:
    model = with_blocks(BlockOfTwoTexts)
    latent, result = sample_and_record(model)
    assert torch.equal(latent, sample(model))
    assert result.recording is None
    assert "2 texts through each joint block for 1 images, as Normalized Attention Guidance (NAG)" in result.reason


@pytest.mark.usefixtures("pytorch_attention")
def test_a_block_that_is_run_twice_counts_once() -> None:
    """RES4LYF's regional prompts run each block with one mask for the image and another for the text."""
    model = make_flux(joint_blocks=2, single_blocks=1)

    def twice(args: dict[str, Any], extra: dict[str, Any]) -> dict[str, Any]:
        copies = {name: args[name].clone() for name in ("img", "txt")}
        first = extra["original_block"](args)
        extra["original_block"]({**args, **copies})
        return first

    for layer in range(2):
        model.set_model_patch_replace(twice, "dit", "double_block", layer)
    found = recording_of(model)
    assert relative_error(found.scores, recording_of(make_flux(joint_blocks=2, single_blocks=1)).scores) < CLOSE


@pytest.mark.usefixtures("pytorch_attention")
@pytest.mark.parametrize("architecture", SD3_VARIANTS, ids=lambda one: one.name)
def test_blocks_of_sd3_that_refuse_options_are_recorded(architecture: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """RES4LYF's ReSD35: `forward` takes any arguments, and what it calls does not."""
    settings = make_settings(width=architecture.text_width)
    options: dict[str, Any] = {"positive": architecture.cond(), "latent": architecture.empty()}
    expected = recording_of(architecture.make(), settings, **options)

    class Block(mmdit.JointBlock):  # type: ignore[misc]
        def forward(self, *args: Any, **kwargs: Any) -> Any:
            assert "transformer_options" not in kwargs
            return mmdit.block_mixing(*args, context_block=self.context_block, x_block=self.x_block, **kwargs)

    model = architecture.make()
    call = mmdit.JointBlock.__call__

    def call_without(self: Any, *args: Any, transformer_options: Any = None, **kwargs: Any) -> Any:
        return call(self, *args, **kwargs)

    monkeypatch.setattr(mmdit.JointBlock, "__call__", call_without)
    for block in model.model.diffusion_model.joint_blocks:
        block.__class__ = Block
    latent, result = sample_and_record(model, settings, **options)
    assert torch.equal(latent, sample(model, **options))
    assert result.recording is not None, result.reason
    assert relative_error(result.recording.scores, expected.scores) < CLOSE


class Stopped(BaseException):
    pass


@pytest.mark.usefixtures("pytorch_attention")
@pytest.mark.parametrize("error", [Stopped, ValueError])
def test_an_error_in_another_pack_s_block_gets_through_and_leaves_nothing(error: type[BaseException]) -> None:
    def fail(*_: Any) -> None:
        raise error

    model = with_blocks(BlockWithoutOptions)
    results: list[Any] = []
    patched = recording_model(model, results)
    before = footprint(model)
    handle = model.model.diffusion_model.double_blocks[1].img_mlp.register_forward_hook(fail)
    with pytest.raises(error):
        sample(patched)
    handle.remove()
    assert footprint(model) == before and not results
    assert not torch.overrides._get_current_function_mode_stack()


# Guiders and samplers


def guided(model: Any, results: list[Any], guider: Any, sampler: Any = None, steps: int = 2) -> Any:
    noise = make_latent(seed=4)
    sampler = sampler or comfy.samplers.sampler_object("euler")
    guider.sample(noise, torch.zeros_like(noise), sampler, torch.linspace(1, 0, steps + 1), disable_pbar=True)
    return results[0]


def test_a_guider_with_prompts_of_its_own_is_named() -> None:
    """FlowEdit of Fluxtapoz: a source and a target, none of which is called positive."""
    model, results = make_flux(joint_blocks=2, single_blocks=1), []

    class Guider(comfy.samplers.CFGGuider):  # type: ignore[misc]
        def predict_noise(self, x: Tensor, timestep: Tensor, model_options: Any = None, seed: Any = None) -> Tensor:
            conds = [self.conds["target_positive"]]
            return comfy.samplers.calc_cond_batch(self.inner_model, conds, x, timestep, model_options or {})[0]

    guider = Guider(recording_model(model, results))
    guider.inner_set_conds({"source_positive": make_cond(), "target_positive": make_cond(5, 3)})
    found = guided(model, results, guider)
    assert found.recording is None
    assert "this guider has prompts of its own (source_positive, target_positive)" in found.reason
    assert "cache" not in found.reason


def test_a_sampler_that_calls_the_model_itself_is_named() -> None:
    class Own(comfy.samplers.Sampler):  # type: ignore[misc]
        def sample(
            self, wrap: Any, sigmas: Tensor, extra: Any, callback: Any, noise: Tensor, *_: Any, **__: Any
        ) -> Tensor:
            for step in range(len(sigmas) - 1):
                callback(step, noise, noise, len(sigmas) - 1)
            return noise

    results: list[Any] = []
    guider = comfy.samplers.CFGGuider(recording_model(make_flux(), results))
    guider.inner_set_conds({"positive": make_cond()})
    found = guided(None, results, guider, Own())
    assert found.recording is None and "the sampler calls the model itself" in found.reason


class Growing(comfy.samplers.Sampler):  # type: ignore[misc]
    """SamplerLCMUpscale: the latent grows between the steps, here once."""

    def __init__(self, sizes: list[tuple[int, int]]) -> None:
        self._sizes = sizes

    def sample(self, wrap: Any, sigmas: Tensor, extra: Any, callback: Any, noise: Tensor, *_: Any, **__: Any) -> Tensor:
        steps = len(self._sizes)
        for step, size in enumerate(self._sizes):
            x = F.interpolate(noise, size=size, mode="bilinear")
            callback(step, wrap(x, sigmas[step : step + 1], **extra), x, steps)
        return x


def grown(sizes: list[tuple[int, int]], steps: int, **settings: Any) -> Any:
    """The recording of a run whose latent is (4, 6) tokens of 2 latent pixels at first."""
    results: list[Any] = []
    guider = comfy.samplers.CFGGuider(recording_model(make_flux(), results, make_settings(**settings)))
    guider.inner_set_conds({"positive": make_cond()})
    noise = make_latent()
    guider.sample(noise, torch.zeros_like(noise), Growing(sizes), torch.linspace(1, 0, steps + 1), disable_pbar=True)
    return results[0].recording


def enlarged(scores: Tensor, size: tuple[int, int]) -> Tensor:
    """Scores (..., 4 x 6) bilinearly on a grid of this size."""
    maps = scores.reshape(1, -1, 4, 6)
    return F.interpolate(maps, size=size, mode="bilinear", align_corners=False).reshape(*scores.shape[:-1], -1)


def test_the_steps_before_a_latent_grows_are_scaled_to_its_last_size() -> None:
    recording = grown([(8, 12), (16, 24)], 2)
    assert recording.steps == (0, 1) and recording.grid == (1, 8, 12) and recording.image_size == (128, 192)
    small, large = grown([(8, 12)], 2), grown([(16, 24), (16, 24)], 2)
    assert torch.allclose(recording.scores[0], enlarged(small.scores[0], (8, 12)), atol=1e-4)
    assert torch.allclose(recording.scores[1], large.scores[1], atol=1e-4)
    assert recording.metadata["cautions"] == (
        "The latent changed its size while it was sampled, from 12 x 8 to 24 x 16 latent pixels.\n"
        "The maps of the steps before are scaled to that size."
    )


def test_the_mean_of_a_run_whose_latent_grows_is_that_of_the_scaled_shares() -> None:
    every, mean = (grown([(8, 12), (16, 24)], 2, keep=keep) for keep in ("every step", "running mean"))
    small = grown([(8, 12)], 2, keep="every step")
    shares = [enlarged(small.scores[0].softmax(dim=-2), (8, 12)), every.scores[1].softmax(dim=-2)]
    assert torch.allclose(mean.scores[0].softmax(dim=-2), (shares[0] + shares[1]) / 2, atol=1e-5)


# Cached reference images


@pytest.mark.parametrize("start, steps", [(0.0, (0, 1, 2)), (0.5, (1, 2))])
def test_all_steps_with_cached_reference_images_are_recorded(start: float, steps: tuple[int, ...]) -> None:
    """FluxKVCache takes the keys of the reference images from the first step, and their tokens leave the sequence."""
    nodes_flux = pytest.importorskip("comfy_extras.nodes_flux")
    if not hasattr(nodes_flux, "FluxKVCache"):
        pytest.skip("this ComfyUI has no FluxKVCache")
    model = FLUX2.make()
    settings = make_settings(width=FLUX2.text_width, start_percent=start)
    reference = torch.randn(1, 128, 4, 4, generator=torch.Generator().manual_seed(9))
    options: dict[str, Any] = {"positive": FLUX2.cond(reference_latents=[reference]), "latent": FLUX2.empty()}
    (cached,) = nodes_flux.FluxKVCache.execute(model).result
    plain = sample(cached, **options)
    (cached,) = nodes_flux.FluxKVCache.execute(model).result
    latent, result = sample_and_record(cached, settings, **options)
    assert torch.equal(latent, plain)
    assert result.recording is not None, result.reason
    assert result.recording.steps == steps and result.recording.scores.shape[-1] == math.prod(FLUX2.grid)
    assert "troubles" not in result.recording.metadata


def keep_keys(kept: dict[int, tuple[Tensor, Tensor]], references: int) -> Callable[..., Any]:
    """As FluxKVCache's patch: notes the references' keys and values of every joint block."""

    def patch(q: Tensor, k: Tensor, v: Tensor, extra_options: dict[str, Any], **_: Any) -> dict[str, Tensor]:
        if extra_options["block_type"] == "double":
            kept[extra_options["block_index"]] = k[:, :, -references:].clone(), v[:, :, -references:].clone()
        return {"q": q, "k": k, "v": v}

    return patch


def test_cached_keys_count_as_the_reference_image_s() -> None:
    """One evaluation in which the references' keys come from a cache that was filled in this very evaluation.

    Joint blocks see the same keys then as without a cache, so the scores of the first one are the same.
    """
    base = make_flux(joint_blocks=2, single_blocks=1)
    positive = make_cond(reference_latents=[make_latent(height=8, width=8, seed=9)], reference_latents_method="offset")
    kept: dict[int, tuple[Tensor, Tensor]] = {}
    filling = base.clone()
    filling.set_model_attn1_patch(keep_keys(kept, 16))
    expected = recording_of(filling, positive=positive, steps=1)

    def cut(inputs: dict[str, Any]) -> dict[str, Any]:
        return {**inputs, "img": inputs["img"][:, :-16]}

    def extend(q: Tensor, k: Tensor, v: Tensor, extra_options: dict[str, Any], **_: Any) -> dict[str, Tensor]:
        if extra_options["block_type"] != "double":
            return {"q": q, "k": k, "v": v}
        keys, values = kept[extra_options["block_index"]]
        return {"q": q, "k": torch.cat([k, keys], dim=2), "v": torch.cat([v, values], dim=2)}

    reading = base.clone()
    reading.set_model_attn1_patch(extend)
    reading.set_model_post_input_patch(cut)
    found = recording_of(reading, positive=positive, steps=1)
    assert found.scores.shape == expected.scores.shape
    assert relative_error(found.scores, expected.scores) < CLOSE
