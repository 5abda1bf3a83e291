"""The Flux adapter: sizes, token order, and every step of the concept stream against the model and a naive twin."""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any

import pytest
import torch
from comfy.ldm.flux.layers import timestep_embedding
from comfy.patcher_extension import WrappersMP
from torch import Tensor

from concept_attention.heatmaps.heatmaps import make_heatmaps
from concept_attention.hosts.comfyui.adapters.block_call import BlockCall, ModuleCall
from concept_attention.hosts.comfyui.adapters.flux import Flux
from concept_attention.hosts.comfyui.engine.settings import Settings

from ....support.comfyui.architectures import flux as tiny_flux
from ....support.comfyui.architectures import flux2 as tiny_flux2
from ....support.comfyui.encoders import clip_of, first_word
from ....support.comfyui.naive_flux import naive_flux
from ....support.comfyui.recording_spy import footprint, make_encoded, recording_model, recording_of, sample_and_record
from ....support.comfyui.tiny import make_cond, make_flux, make_latent, sample
from ....support.numbers import naive_scores, relative_error

CLOSE = 1e-5


def spied(model: Any, seen: list[dict[str, Any]]) -> Any:
    """A clone that notes what each model evaluation is called with."""

    def spy(executor: Any, *args: Any, **kwargs: Any) -> Any:
        seen.append(
            {
                "x": args[0].clone(),
                "timestep": executor.class_obj.model_sampling.timestep(args[1]).float(),
                "context": args[3].clone(),
                **{name: kwargs.get(name) for name in ("y", "guidance", "ref_latents")},
            }
        )
        return executor(*args, **kwargs)

    clone = model.clone()
    clone.add_wrapper_with_key(WrappersMP.APPLY_MODEL, "spy", spy)
    return clone


def record_and_expect(model: Any, **options: Any) -> tuple[Any, Tensor]:
    """A recording of all layers and steps, and the scores it should have, (S, L, B, C, N)."""
    settings = options.pop("settings", Settings(make_encoded()))
    seen: list[dict[str, Any]] = []
    recording = recording_of(spied(model, seen), settings, **options)
    network = model.model.diffusion_model
    return recording, torch.stack(
        [naive_scores(*naive_flux(network, inputs, settings.encoded.embeddings)) for inputs in seen]
    )


def test_sizes_are_read_from_the_live_model() -> None:
    found = Flux().describe(make_flux(joint_blocks=4).model)
    assert (found.name, found.layer_count) == ("flux", 4)
    assert (found.text_width, found.patch, found.default_layers) == (48, 2, (2, 3))


@pytest.mark.parametrize("guidance", [False, True])
def test_dev_and_schnell_are_matched(guidance: bool) -> None:
    assert Flux().matches(make_flux(guidance=guidance).model)


def test_default_layers_of_a_full_size_flux_are_the_authors() -> None:
    network = types.SimpleNamespace(
        double_blocks=range(19),
        single_blocks=range(38),
        patch_size=2,
        params=types.SimpleNamespace(context_in_dim=4096),
        txt_norm=None,
    )
    assert Flux().describe(types.SimpleNamespace(diffusion_model=network)).default_layers == (15, 16, 17, 18)


@pytest.mark.parametrize(
    "options, sampling",
    [
        ({}, {}),
        ({"guidance": True, "heads": 2}, {"latent": torch.zeros(1, 16, 8, 12)}),
        ({"guidance": True}, {"latent": torch.zeros(3, 16, 12, 8)}),
        ({"heads": 2}, {"latent": torch.zeros(2, 16, 9, 7)}),
        ({"guidance": True}, {"positive": make_cond(guidance=None)}),
    ],
    ids=["schnell", "dev", "batch", "odd", "without guidance"],
)
def test_scores_equal_a_naive_twin(options: dict[str, Any], sampling: dict[str, Any]) -> None:
    recording, expected = record_and_expect(make_flux(**options), **sampling)
    assert recording.scores.shape == expected.shape and recording.batch == len(sampling.get("latent", [0]))
    assert relative_error(recording.scores, expected) < CLOSE
    height, width = sampling.get("latent", torch.zeros(1, 16, 12, 8)).shape[-2:]
    assert recording.grid == (1, (height + 1) // 2, (width + 1) // 2)
    shares = torch.softmax(expected[:, 1:], dim=3).mean((0, 1)).unflatten(-1, recording.grid[1:])
    assert relative_error(make_heatmaps(recording).values, shares) < CLOSE


def test_concepts_see_a_reference_image_that_is_not_mapped() -> None:
    model = make_flux(guidance=True)
    references = [make_latent(height=6, width=8, seed=4)]
    recording, expected = record_and_expect(model, positive=make_cond(reference_latents=references))
    assert recording.scores.shape[-1] == 24
    assert relative_error(recording.scores, expected) < CLOSE
    assert relative_error(recording.scores, recording_of(model).scores) > 100 * CLOSE


def test_concepts_have_the_guidance_of_the_positive_prompt() -> None:
    """Also where the negative one is evaluated in the same batch, before it."""
    model, positive = make_flux(guidance=True), make_cond(guidance=6.0)
    alone = recording_of(model, positive=positive, steps=1)
    for guidance in (6.0, 1.0):
        negative = make_cond(seed=3, guidance=guidance)
        together = recording_of(model, positive=positive, negative=negative, cfg=4.0, steps=1)
        assert relative_error(together.scores, alone.scores) < CLOSE
    other = recording_of(model, positive=make_cond(guidance=1.0), steps=1)
    assert relative_error(other.scores, alone.scores) > 100 * CLOSE


@torch.no_grad()
def concept_vector(network: Any, inputs: dict[str, Any]) -> Tensor:
    """The concepts' modulation vector, made of what the stream would hear."""
    time = network.time_in(timestep_embedding(inputs["timestep"], 256))
    pooled = ModuleCall((inputs["y"],), network.vector_in(inputs["y"]))
    call = BlockCall({}, slice(None), calls={"time": ModuleCall((), time), "pooled": pooled})
    return Flux().prepare(network, call)


def test_the_pooled_text_reaches_the_concepts_only_through_the_image() -> None:
    model, seen = make_flux(), []
    network = model.model.diffusion_model
    for seed in (1, 2):
        cond = make_cond()
        cond[0][1]["pooled_output"] = make_cond(seed=seed)[0][1]["pooled_output"]
        recording_of(spied(model, seen), positive=cond, steps=1)
    assert torch.equal(*(concept_vector(network, inputs) for inputs in seen))
    (one, _), (other, _) = (naive_flux(network, inputs, make_encoded().embeddings) for inputs in seen)
    assert relative_error(one[0], other[0]) > 0.01


def test_half_precision_gives_float32_scores_close_to_a_float32_models() -> None:
    exact, rough = (
        recording_of(make_flux(dtype=dtype), steps=1, latent=torch.zeros(1, 16, 12, 8))
        for dtype in (torch.float32, torch.bfloat16)
    )
    assert rough.scores.dtype == torch.float32
    assert relative_error(rough.scores, exact.scores) < 0.1
    assert (rough.scores.bfloat16().float() != rough.scores).float().mean() > 0.9


def test_the_papers_mode_normalises_the_concepts() -> None:
    model = make_flux()
    settings = Settings(make_encoded(), mode="paper")
    seen: list[dict[str, Any]] = []
    recording = recording_of(spied(model, seen), settings, steps=1)
    images, concepts = naive_flux(model.model.diffusion_model, seen[0], settings.encoded.embeddings)
    spread = [concept - concept.min(dim=1, keepdim=True).values for concept in concepts]
    normalised = [one / one.sum(dim=1, keepdim=True) for one in spread]
    assert relative_error(recording.scores[0], naive_scores(images, normalised)) < CLOSE


def test_padded_concepts_equal_as_many_zero_embeddings() -> None:
    model = make_flux()
    settings = Settings(make_encoded(), mode="cogvideox")
    seen: list[dict[str, Any]] = []
    recording = recording_of(spied(model, seen), settings, steps=1)
    padded = torch.cat([settings.encoded.embeddings, torch.zeros(223, 48)])
    expected = naive_scores(*naive_flux(model.model.diffusion_model, seen[0], padded))
    assert recording.pad_count == 223 and recording.pad_scores is not None
    assert relative_error(recording.scores[0], expected[:, :, :3]) < CLOSE
    assert relative_error(recording.pad_scores[0], expected[:, :, 3]) < CLOSE


def test_permuted_concepts_permute_the_scores() -> None:
    model, order, some = make_flux(), [2, 0, 1], make_encoded()
    permuted = type(some)(tuple(some.concepts[i] for i in order), some.embeddings[order], (1, 1, 1), "first")
    plain, moved = recording_of(model), recording_of(model, Settings(permuted))
    assert relative_error(moved.scores, plain.scores[:, :, :, order]) < CLOSE
    assert relative_error(moved.scores, plain.scores) > 0.1


@pytest.mark.parametrize("cfg", [1.0, 4.0])
def test_lora_patches_count_for_concepts_too(cfg: float) -> None:
    model, merged = make_flux(), make_flux()
    generator = torch.Generator().manual_seed(8)
    patched, patches = model.clone(), {}
    for name, weight in merged.model.named_parameters():
        if "double_blocks" in name and weight.ndim == 2:
            change = 0.03 * torch.randn(weight.shape, generator=generator)
            weight.data += change
            patches[name] = ("diff", (change,))
    assert len(patched.add_patches(patches)) == len(patches) == 3 * 10
    latent, result = sample_and_record(patched, cfg=cfg)
    assert torch.equal(latent, sample(patched, cfg=cfg))
    assert result.recording is not None
    expected = recording_of(merged, cfg=cfg)
    assert relative_error(result.recording.scores, expected.scores) < CLOSE
    assert relative_error(result.recording.scores, recording_of(model, cfg=cfg).scores) > 100 * CLOSE


@pytest.mark.parametrize("make", [lambda: make_flux(), lambda: make_flux(guidance=True)])
def test_a_run_leaves_nothing_on_the_model(make: Callable[[], Any]) -> None:
    model = make()
    sample(model)
    before = footprint(model)
    watched = recording_model(model, [])
    carried = footprint(watched)
    sample(watched, cfg=4.0)
    assert footprint(model) == before and footprint(watched) == carried


def test_flux_2_has_the_same_class_and_is_not_matched() -> None:
    assert not Flux().matches(tiny_flux2.VARIANTS[0].make().model)


def test_concepts_have_the_position_of_a_prompt_of_one_word() -> None:
    """The encoders of LongCat-Image and Ovis-Image cut off their chat templates, Ovis' but for a colon."""
    found = {tiny.name: Flux().describe(tiny.make().model).concept_position for tiny in tiny_flux.VARIANTS[2:]}
    assert found == {name: first_word(clip_of(name)) for name in ("LongCat-Image", "Ovis-Image")}
