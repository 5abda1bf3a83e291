"""What holds for every model with cross-attention that the ComfyUI at hand has.

Images are not square. Expected maps are those of the host's own attention calls.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from concept_attention.concepts import parse_concepts
from concept_attention.hosts.comfyui.adapters.registry import CROSS_FAMILIES, adapter_for
from concept_attention.hosts.comfyui.analysis import analyze
from concept_attention.hosts.comfyui.engine.settings import Settings
from concept_attention.hosts.encoded import ConceptText, EncodedConcepts

from ....support.comfyui.architectures.matrix import KNOWN
from ....support.comfyui.cross_attention.catalogue import VARIANTS
from ....support.comfyui.cross_attention.tiny_cross import Attended, TinyCross
from ....support.comfyui.recording_spy import footprint, make_encoded, recording_model, recording_of, sample_and_record
from ....support.comfyui.tiny import Conditioning, sample
from ....support.numbers import relative_error

CLOSE = 1e-5


@pytest.fixture(params=VARIANTS, ids=[tiny.name for tiny in VARIANTS])
def tiny(request: pytest.FixtureRequest) -> TinyCross:
    found: TinyCross = request.param
    if not found.in_host:
        pytest.skip(f"this ComfyUI has no {found.kind}")
    return found


def concepts_of(texts: tuple[ConceptText, ...]) -> EncodedConcepts:
    """Concepts of these texts; their embeddings would give other scores."""
    names = parse_concepts([f"thing {n}" for n in range(len(texts))])
    embeddings = torch.stack([text.tokens.mean(0) + 1 for text in texts])
    counts = tuple(text.own[1] - text.own[0] for text in texts)
    return EncodedConcepts(names, embeddings, counts, "mean", texts=texts)


def three(tiny: TinyCross, cond: Conditioning) -> EncodedConcepts:
    """Three concepts of two tokens each, out of another prompt."""
    states, options = cond[0][0][0], cond[0][1]
    return concepts_of(tuple(ConceptText(states, (start, start + 2), options) for start in (0, 2, 4)))


def options_of(tiny: TinyCross, batch: int = 1, **options: Any) -> dict[str, Any]:
    return {
        "positive": tiny.cond(),
        "negative": tiny.cond(seed=3),
        "latent": tiny.empty(batch),
        "steps": 2,
        **options,
    }


def equal(one: Any, other: Any) -> bool:
    """Whether two latents, packed or not, are the same."""
    parts = [(part.unbind() if getattr(part, "is_nested", False) else [part]) for part in (one, other)]
    return all(torch.equal(a, b) for a, b in zip(*parts, strict=True))


def test_the_latent_is_bit_identical_and_nothing_is_left_behind(tiny: TinyCross) -> None:
    model = tiny.make()
    concepts = three(tiny, tiny.cond(seed=9))
    with torch.inference_mode():
        plain = sample(model, **options_of(tiny, cfg=4.0))
    before = footprint(model)
    for mode in ("auto", "gram"):
        observed, result = sample_and_record(model, Settings(concepts, mode=mode), **options_of(tiny, cfg=4.0))
        assert equal(observed, plain) and footprint(model) == before
        recording = result.recording
        assert recording is not None, result.reason
        assert recording.scores.shape[:2] == (2, tiny.layers) and recording.grid == tiny.grid
        assert (recording.reading, recording.mode) == (("cross", "cross") if mode == "auto" else ("gram", "gram"))
        assert recording.architecture == tiny.architecture and "troubles" not in recording.metadata
        assert recording.scores.std(-1).min() > 0


def test_the_model_is_known_by_its_adapter(tiny: TinyCross) -> None:
    model = tiny.make().model
    found = adapter_for(model)
    module, name = tiny.family
    assert (f"cross_attention.{module}", name) in CROSS_FAMILIES
    assert type(found).__name__ == name and type(found).__module__.endswith(f".{module}")
    assert found.describe(model).text_width == tiny.text_width


def test_a_concept_that_repeats_the_prompt_gets_the_prompts_own_attention(tiny: TinyCross) -> None:
    model, prompt = tiny.make(), tiny.cond()
    texts = tiny.texts(prompt)
    with tiny.observed() as calls:
        recording = recording_of(model, Settings(concepts_of(texts)), **options_of(tiny, batch=1, steps=1))
    expected = [_maps(tiny, attended, texts, layer) for layer, attended in enumerate(calls[: tiny.layers])]
    assert len(calls) >= tiny.layers
    assert relative_error(recording.scores[0].exp(), torch.stack(expected)) < CLOSE


def _maps(tiny: TinyCross, attended: Attended, texts: tuple[ConceptText, ...], layer: int) -> Tensor:
    """The mean over heads and tokens of the attention to each text's tokens, (B, C, N), on the recording's grid."""
    columns = [list(tiny.keys_of(*text.own, len(text.states))) for text in texts]
    maps = torch.stack([attended.weights.mean(1)[..., own].mean(-1) for own in columns], dim=1)
    if tiny.grids:
        rows, width = tiny.grids[layer]
        maps = F.interpolate(maps.unflatten(-1, (rows, width)), size=tiny.grid[1:], mode="bilinear").flatten(2)
    return maps


def test_gram_is_the_similarity_to_the_token_that_answers_best(tiny: TinyCross) -> None:
    if tiny.whole:
        pytest.skip("the keys of a single token cannot be told")
    model, prompt = tiny.make(), tiny.cond()
    texts = tiny.texts(prompt)
    with tiny.observed() as calls:
        recording = recording_of(model, Settings(concepts_of(texts), mode="gram"), **options_of(tiny, steps=1))
    for layer, attended in enumerate(calls[: tiny.layers]):
        if tiny.grids and tiny.grids[layer] != tiny.grid[1:]:
            continue
        expected = _naive_gram(tiny, attended, texts)
        if tiny.name != "LTX-2.3, LTX-2.5":  # each head's output is scaled, which no cosine sees
            assert relative_error(recording.scores[0, layer, 0], expected) < CLOSE
        else:
            assert relative_error(recording.scores[0, layer, 0], expected) < 1e-4


def _naive_gram(tiny: TinyCross, attended: Attended, texts: tuple[ConceptText, ...]) -> Tensor:
    """Loops over concepts, frames and heads, (C, N)."""
    frames, tokens = tiny.grid[0], tiny.grid[1] * tiny.grid[2]
    result = torch.zeros(len(texts), frames * tokens)
    heads = attended.queries.shape[1]
    for concept, text in enumerate(texts):
        key = attended.keys[0][:, list(tiny.keys_of(*text.own, len(text.states)))].mean(1)
        for frame in range(frames):
            part = slice(frame * tokens, (frame + 1) * tokens)
            for head in range(heads):
                output = attended.output[0, head, part]
                anchor = output[int((attended.queries[0, head, part] @ key[head]).argmax())]
                result[concept, part] += torch.cosine_similarity(output, anchor[None], dim=-1) / heads
    return result


def test_permuting_concepts_permutes_their_maps(tiny: TinyCross) -> None:
    model, concepts = tiny.make(), three(tiny, tiny.cond(seed=9))
    order = [2, 0, 1]
    permuted = dataclasses.replace(
        concepts,
        concepts=tuple(concepts.concepts[n] for n in order),
        embeddings=concepts.embeddings[order],
        texts=tuple(concepts.texts[n] for n in order),
    )
    one, other = (recording_of(model, Settings(c), **options_of(tiny, steps=1)) for c in (concepts, permuted))
    assert relative_error(other.scores, one.scores[:, :, :, order]) < CLOSE


def test_a_concept_gets_the_same_beside_concepts_of_other_lengths(tiny: TinyCross) -> None:
    model = tiny.make()
    states = [tiny.cond(tokens=count, seed=9) for count in (7, 5, 7)]
    texts = tuple(ConceptText(one[0][0][0], (start, start + 2), one[0][1]) for start, one in enumerate(states))
    together = recording_of(model, Settings(concepts_of(texts)), **options_of(tiny, steps=1))
    for index, text in enumerate(texts):
        alone = recording_of(model, Settings(concepts_of((text,))), **options_of(tiny, steps=1))
        assert relative_error(together.scores[..., [index], :], alone.scores) < CLOSE


def test_guidance_and_batches_do_not_change_what_the_positive_prompt_says(tiny: TinyCross) -> None:
    model, settings = tiny.make(), Settings(three(tiny, tiny.cond(seed=9)))
    alone = recording_of(model, settings, **options_of(tiny, steps=1))
    guided = recording_of(model, settings, **options_of(tiny, steps=1, cfg=4.0))
    assert relative_error(guided.scores, alone.scores) < CLOSE
    if tiny.sound is not None:
        return  # a batch has other noise
    several = recording_of(model, settings, **options_of(tiny, batch=2, steps=1, cfg=4.0))
    assert several.batch == 2
    assert relative_error(several.scores[:, :, :1], alone.scores) < CLOSE


def test_a_forward_pass_that_ends_after_the_last_kept_layer_says_the_same(tiny: TinyCross) -> None:
    model = tiny.make()
    for mode in ("cross", "gram"):
        settings = Settings(three(tiny, tiny.cond(seed=9)), layers="0-1", mode=mode)
        finished, ended = (
            sample_and_record(model, settings, stop_after_last_layer=stop, **options_of(tiny, steps=1))[1].recording
            for stop in (False, True)
        )
        assert finished is not None and ended is not None
        assert torch.equal(finished.scores, ended.scores)


def test_an_error_in_a_layer_leaves_nothing_behind(tiny: TinyCross) -> None:
    model = tiny.make()
    watched = recording_model(model, [], Settings(three(tiny, tiny.cond(seed=9))))
    before = footprint(watched)
    network = model.model.diffusion_model

    def fail(module: Any, args: Any, output: Any) -> None:
        raise KeyboardInterrupt

    handle = list(adapter_for(model.model).layers(network))[-1].register_forward_hook(fail)
    with pytest.raises(KeyboardInterrupt), torch.inference_mode():
        sample(watched, **options_of(tiny, cfg=4.0))
    handle.remove()
    assert footprint(watched) == before


def test_concepts_without_tokens_are_read_by_their_embedding() -> None:
    tiny = VARIANTS[0]
    encoded = make_encoded(width=tiny.text_width)
    recording = recording_of(tiny.make(), Settings(encoded), **options_of(tiny, steps=1))
    texts = tuple(ConceptText(embedding[None], (0, 1)) for embedding in encoded.embeddings)
    other = recording_of(tiny.make(), Settings(dataclasses.replace(encoded, texts=texts)), **options_of(tiny, steps=1))
    assert torch.equal(recording.scores, other.scores)


@pytest.mark.parametrize("mode", ["flux", "paper", "sd3"])
def test_rules_that_need_joint_blocks_are_refused(mode: str) -> None:
    tiny = VARIANTS[0]
    with pytest.raises(ValueError, match=rf"Mode {mode} needs joint blocks.*Choose auto, cross or gram"):
        Settings(make_encoded(width=tiny.text_width), mode=mode).check(tiny.build(device="meta"))


def named(name: str) -> TinyCross:
    found = next(tiny for tiny in VARIANTS if tiny.name == name)
    if not found.in_host:
        pytest.skip(f"this ComfyUI has no {found.kind}")
    return found


def test_prompts_of_areas_are_put_together() -> None:
    """A U-Net's maps of several sizes, each on a half of the latent."""
    tiny = named("Stable Diffusion 1 and 2")
    model, settings = tiny.make(), Settings(three(tiny, tiny.cond(seed=9)))
    left, right = (tiny.cond(seed=seed, area=(8, 6, 0, x), strength=1.0)[0] for seed, x in ((1, 0), (2, 6)))
    recording = recording_of(model, settings, **options_of(tiny, steps=1, positive=[left, right]))
    assert "troubles" not in recording.metadata and recording.grid == (1, 8, 12)
    alone = recording_of(model, settings, **options_of(tiny, steps=1, positive=[left]))
    found, expected = (one.scores.unflatten(-1, (8, 12)) for one in (recording, alone))
    assert relative_error(found[..., :6], expected[..., :6]) < CLOSE
    assert not expected[..., 6:].any() and found[..., 6:].any()


def test_layers_of_a_unet_that_are_read_by_default() -> None:
    tiny = named("SDXL, Pony, Illustrious")
    large = dataclasses.replace(tiny, config={**tiny.config, **KNOWN[tiny.name].sizes[0]}).build(device="meta")
    described = adapter_for(large).describe(large)
    assert (described.layer_count, described.patch) == (70, 2)
    assert described.default_layers == tuple(range(34, 70))  # behind 24 on the way down and 10 in the middle


@pytest.mark.parametrize("behind", [True, False])
def test_tokens_of_other_pictures_are_not_mapped(behind: bool) -> None:
    """Wan packs videos to look at behind the video, and a reference picture before it."""
    tiny = named("Wan 2.1, 2.2, VACE, Fun, Animate, SCAIL")
    more = {} if behind else {"in_dim_ref_conv": 16}
    model = dataclasses.replace(tiny, config={**tiny.config, **more}).make()
    other = torch.randn(1, 16, 1, 8, 12, generator=torch.Generator().manual_seed(7))
    prompt = tiny.cond(time_dim_concat=other) if behind else tiny.cond(reference_latents=[other])
    four_frames = dataclasses.replace(tiny, grids=((4 * 4, 6),))
    with four_frames.observed() as calls:
        settings = Settings(concepts_of(tiny.texts(prompt)))
        recording = recording_of(model, settings, **options_of(tiny, positive=prompt, steps=1))
    video = slice(0, 72) if behind else slice(24, 96)
    expected = torch.stack([attended.weights.mean(1)[:, video].transpose(1, 2) for attended in calls[: tiny.layers]])
    assert recording.grid == (3, 4, 6) and relative_error(recording.scores[0].exp(), expected) < CLOSE


@pytest.mark.parametrize(
    "name", ["Wan 2.1, 2.2, VACE, Fun, Animate, SCAIL", "LTX-2", "Stable Diffusion 1 and 2", "Anima", "Qwen-Image 2.1"]
)
def test_existing_pictures_and_videos_are_analysed(name: str) -> None:
    """LTX-2 without a sound."""
    tiny = named(name)
    latent = torch.randn(tiny.latent, generator=torch.Generator().manual_seed(8))
    settings = Settings(three(tiny, tiny.cond(seed=9)))
    found = analyze(tiny.make(), settings, {"samples": latent}, tiny.cond(), noise=0.4, samples=2)
    assert found.grid == tiny.grid and found.reading == "cross" and len(found.steps) == 2
    assert found.sigmas == pytest.approx((0.4, 0.4), abs=1e-3)
    assert found.scores.std(-1).min() > 0 and not torch.equal(found.scores[0], found.scores[1])


@pytest.mark.parametrize("cache", ["auto", "off"])
def test_a_prompt_with_pictures_in_it_is_read_without_them(cache: str) -> None:
    """Qwen-Image 2.1, whose prompt is kept from the first step on or computed anew in each."""
    tiny = named("Qwen-Image 2.1")
    model = tiny.make()
    model.model_options["transformer_options"]["qwen_image21_cache"] = {"device": cache}
    pictures = [torch.randn(1, 64, *size, generator=torch.Generator().manual_seed(7)) for size in ((2, 3), (3, 3))]
    prompt = tiny.cond(reference_latents=pictures, image_slots=[3])  # the second stands behind the text
    settings = Settings(concepts_of(tiny.texts(prompt)))
    with dataclasses.replace(tiny, text_length=lambda _: 7 + 6 + 9 + 24, joint=False).observed() as calls:
        recording = recording_of(model, settings, **options_of(tiny, positive=prompt, steps=2))
    own = [0, 1, 2, 9, 10, 11, 12]  # the first picture has six tokens
    shares = [attended.weights[..., own] for attended in calls[:: tiny.layers]]  # of the first layer
    maps = torch.stack([(one / one.sum(-1, keepdim=True)).mean(1).transpose(1, 2) for one in shares])
    assert len(calls) == 2 * tiny.layers and recording.grid == tiny.grid
    # A concept is a prompt without pictures. What stands before them has the same keys there.
    assert relative_error(recording.scores[:, 0, :, :3].exp(), maps[:, :, :3]) < CLOSE
    assert relative_error(recording.scores[:, 0, :, 3:].exp(), maps[:, :, 3:]) > CLOSE
