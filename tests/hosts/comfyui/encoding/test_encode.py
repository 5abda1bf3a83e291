"""Concept embeddings from ComfyUI's text encoders, against encoders called by hand and stubs that show their input."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import comfy.text_encoders.lt
import pytest
import torch
from torch import Tensor

from concept_attention.concepts import Concept, parse_concepts
from concept_attention.hosts.comfyui.encoding.encode import encode_concepts

from ....support.comfyui.encoders import (
    BIDIRECTIONAL,
    CAUSAL,
    T5_SIZES,
    Encoder,
    clip_of,
    library_ids,
    ltx2,
    ltx25,
    make_clip,
    sd3,
    text_encoder_module,
    tokenizer_of,
)
from ....support.comfyui.tiny import fill


def t5_states(clip: Any, text: str, length: int = 256, *, masked: bool = False) -> Tensor:
    """Hidden states (length, E) of the tiny T5 called directly: the text, `</s>`, and pads, which it may not see."""
    ids = [*library_ids(tokenizer_of(clip, "t5xxl"), text), 1]
    padded = torch.tensor([ids + [0] * (length - len(ids))])
    mask = torch.tensor([[1] * len(ids) + [0] * (length - len(ids))]) if masked else None
    with torch.no_grad():
        return clip.cond_stage_model.t5xxl.transformer(padded, mask)[0][0]


@pytest.mark.parametrize("text", ["dragon", "fire hydrant", "Möwe am Fluß", "boat (red)", "a (b) c:1.2 ((d:2))"])
def test_a_concept_is_what_t5_makes_of_it_alone_and_padded(tiny_clip: Any, text: str) -> None:
    ids = library_ids(tiny_clip.tokenizer.t5xxl.tokenizer, text)
    found = encode_concepts(tiny_clip, [Concept("other", "grass"), Concept("it", text)], "mean")
    expected = t5_states(tiny_clip, text)[: len(ids)].mean(0)
    assert found.token_counts == (1, len(ids)) and found.embeddings.shape == (2, 48)
    torch.testing.assert_close(found.embeddings[1], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "pooling, expected",
    [
        ("first", lambda words: words[0]),
        ("mean", lambda words: words.sum(0) / 4),
        ("last", lambda words: words[3]),
        ("auto", lambda words: words.sum(0) / 4),
    ],
)
def test_several_tokens_become_one_vector(tiny_clip: Any, pooling: Any, expected: Callable[[Tensor], Tensor]) -> None:
    found = encode_concepts(tiny_clip, parse_concepts("hydrant: fire hydrant"), pooling)
    assert found.token_counts == (4,) and found.pooling == ("mean" if pooling == "auto" else pooling)
    words = t5_states(tiny_clip, "fire hydrant")[:4]
    assert float((words[0] - words[3]).abs().max()) > 0.01
    torch.testing.assert_close(found.embeddings[0], expected(words), rtol=1e-5, atol=1e-5)


def test_the_models_own_padding_is_used(tiny_clip: Any) -> None:
    clip = tiny_clip.clone()
    clip.set_tokenizer_option("t5xxl_min_length", 64)
    found = encode_concepts(clip, parse_concepts("sky"))
    torch.testing.assert_close(found.embeddings[0], t5_states(tiny_clip, "sky", 64)[0], rtol=1e-5, atol=1e-5)
    assert float((found.embeddings[0] - t5_states(tiny_clip, "sky")[0]).abs().max()) > 0.001


def test_the_empty_text_comes_along_as_conditioning(tiny_clip: Any) -> None:
    empty = encode_concepts(tiny_clip, parse_concepts("sky")).empty_conditioning
    expected = tiny_clip.encode_from_tokens_scheduled(tiny_clip.tokenize(""))
    assert len(empty) == 1 and torch.equal(empty[0][0], expected[0][0])
    assert torch.equal(empty[0][1]["pooled_output"], expected[0][1]["pooled_output"])


@pytest.mark.parametrize("reader", ["auto", "t5"])
def test_a_clip_that_gives_every_state_twice_is_read_as_the_plain_one(tiny_clip: Any, reader: Any) -> None:
    """NegPip: a state for the keys, then one for the values, token by token."""

    class Doubled:
        def __getattr__(self, name: str) -> Any:
            return getattr(tiny_clip, name)

        def encode_from_tokens_scheduled(self, tokens: Any) -> Any:
            encoded = tiny_clip.encode_from_tokens_scheduled(tokens)
            return [[states.repeat_interleave(2, dim=1), options] for states, options in encoded]

    concepts = parse_concepts(["sky", "fire hydrant"])
    found, expected = (encode_concepts(clip, concepts, reader=reader) for clip in (Doubled(), tiny_clip))
    assert torch.equal(found.embeddings, expected.embeddings)
    assert found.token_counts == expected.token_counts
    assert found.empty_conditioning[0][0].shape[1] == 2 * expected.empty_conditioning[0][0].shape[1]


def test_nothing_asks_for_gradients(tiny_clip: Any) -> None:
    found = encode_concepts(tiny_clip, parse_concepts("sky"))
    assert not found.embeddings.requires_grad and not found.empty_conditioning[0][0].requires_grad


@pytest.fixture(params=[*CAUSAL, *BIDIRECTIONAL], ids=lambda encoder: encoder.name)
def encoder(request: pytest.FixtureRequest) -> Encoder:
    found: Encoder = request.param
    return found


def test_a_concepts_own_tokens_are_found(encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever comes before and behind them, and whatever of that is cut off again."""
    clip = encoder.make(monkeypatch)
    texts = ["dragon", "fire hydrant", encoder.odd, "the boat the"]
    ids = [encoder.tokens(clip, text) for text in texts]
    concepts = [Concept(text, text) for text in texts]
    first, last = (encode_concepts(clip, concepts, end) for end in ("first", "last"))  # type: ignore[arg-type]
    assert first.token_counts == tuple(map(len, ids))
    assert first.embeddings[:, 0].tolist() == [own[0] for own in ids]
    assert last.embeddings[:, 0].tolist() == [own[-1] for own in ids]
    assert (last.embeddings - first.embeddings)[:, 1].tolist() == [len(own) - 1 for own in ids]
    everything = encode_concepts(clip, concepts)
    for pooled, part in ((everything, slice(None)), (first, slice(1)), (last, slice(-1, None))):
        assert [text.tokens[:, 0].tolist() for text in pooled.texts] == [own[part] for own in ids]


def test_auto_is_what_has_read_the_whole_concept(encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last token where tokens read only those before them; the mean where they read all."""
    clip = encoder.make(monkeypatch)
    expected = "mean" if encoder in BIDIRECTIONAL else "last"
    found, same = (
        encode_concepts(clip, parse_concepts("hydrant: fire hydrant"), pooling) for pooling in ("auto", expected)
    )  # type: ignore[arg-type]
    assert found.pooling == expected and torch.equal(found.embeddings, same.embeddings)


def test_the_last_token_of_a_real_causal_encoder_alone_has_read_the_whole_concept() -> None:
    """Z-Image's Qwen, which gives the last layer but one."""
    module = text_encoder_module("z_image")
    sizes = {"hidden_size": 32, "intermediate_size": 32, "num_attention_heads": 2, "num_key_value_heads": 1}
    clip = make_clip(module.ZImageTokenizer, module.te(), qwen3_4b_model_config={**sizes, "num_hidden_layers": 3})
    encoder = clip.cond_stage_model.qwen3_4b
    fill(encoder)
    concepts = [Concept(text, text) for text in ("fire hydrant", "fire truck")]
    first, auto = (encode_concepts(clip, concepts, pooling) for pooling in ("first", "auto"))  # type: ignore[arg-type]
    assert auto.pooling == "last"
    torch.testing.assert_close(first.embeddings[0], first.embeddings[1], atol=1e-5, rtol=1e-5)  # but for rounding
    assert float((auto.embeddings[0] - auto.embeddings[1]).abs().max()) > 0.01
    (batch,) = clip.tokenize("fire hydrant")["qwen3_4b"]
    with torch.no_grad():
        ids = torch.tensor([[pair[0] for pair in batch]])
        states = encoder.transformer(ids, None, intermediate_output=-2, final_layer_norm_intermediate=False)[1][0]
    end = 3 + auto.token_counts[0]  # <|im_start|>, user and a line break come before
    torch.testing.assert_close(auto.embeddings[0], states[end - 1], rtol=1e-5, atol=1e-5)


def test_the_last_word_token_of_flux_2_is_the_last_but_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Token 510 of 512 in the authors' code, which pads in front."""
    (dev, *_) = CAUSAL
    clip = dev.make(monkeypatch)
    states = clip.encode_from_tokens_scheduled(clip.tokenize("fire hydrant"))[0][0]
    found = encode_concepts(clip, parse_concepts("hydrant: fire hydrant"))
    assert torch.equal(found.embeddings[0], states[0, -2])


@pytest.mark.parametrize("others", [{}, {"clip_l": False}, {"clip_l": False, "clip_g": False}])
def test_sd3_gives_the_t5_tokens_wherever_they_lie(others: dict[str, bool]) -> None:
    clip = sd3(**others)
    ids = library_ids(clip.tokenizer.t5xxl.tokenizer, "fire hydrant")
    found = encode_concepts(clip, [Concept("it", "fire hydrant")], "last")
    assert found.token_counts == (4,) and found.embeddings.shape == (1, 4096)
    assert found.embeddings[0, :2].tolist() == [ids[3], 3]


def test_sd3_without_its_t5_gives_the_tokens_of_clip() -> None:
    clip = sd3(t5=False)
    ids = library_ids(clip.tokenizer.clip_l.tokenizer, "fire hydrant")
    first, last = (encode_concepts(clip, [Concept("it", "fire hydrant")], end) for end in ("first", "last"))  # type: ignore[arg-type]
    assert first.token_counts == (len(ids),) != (4,)
    assert (first.embeddings[0, :2].tolist(), first.read_by) == ([ids[0], 1], "g")
    assert last.embeddings[0, :2].tolist() == [ids[-1], len(ids)]


def sd3_with_t5() -> Any:
    module = text_encoder_module("sd3_clip")
    encoders = module.sd3_clip(clip_l=False, clip_g=False, t5=True, dtype_t5=torch.float32)
    return make_clip(module.SD3Tokenizer, encoders, t5xxl_model_config=T5_SIZES)


def t5_of(module: str, tokenizer: str, te: str) -> Any:
    found = text_encoder_module(module)
    return make_clip(getattr(found, tokenizer), getattr(found, te)(torch.float32), t5xxl_model_config=T5_SIZES)


@pytest.mark.parametrize(
    "make, length, masked",
    [
        (sd3_with_t5, 77, False),
        (lambda: t5_of("cogvideo", "CogVideoXTokenizer", "cogvideo_te"), 226, False),
        (lambda: t5_of("pixart_t5", "PixArtTokenizer", "pixart_te"), 5, False),
        (lambda: t5_of("genmo", "MochiT5Tokenizer", "mochi_te"), 256, True),
    ],
    ids=["SD3", "CogVideoX", "Chroma", "Mochi"],
)
def test_every_models_t5_pads_in_its_own_way(make: Callable[[], Any], length: int, masked: bool) -> None:
    clip = make()
    fill(clip.cond_stage_model.t5xxl)
    found = encode_concepts(clip, parse_concepts("hydrant: fire hydrant"))
    expected = t5_states(clip, "fire hydrant", length, masked=masked)[:4].mean(0)
    torch.testing.assert_close(found.embeddings[0], expected, rtol=1e-5, atol=1e-5)
    assert found.pooling == "mean"


def test_auraflows_t5_has_its_own_tokenizer() -> None:
    module = text_encoder_module("aura_t5")
    clip = make_clip(module.AuraT5Tokenizer, module.AuraT5Model, pile_t5xl_model_config=T5_SIZES)
    encoder = clip.cond_stage_model.pile_t5xl
    fill(encoder)
    found = encode_concepts(clip, parse_concepts("hydrant: fire hydrant"))
    ids = [*library_ids(tokenizer_of(clip, "pile_t5xl"), "fire hydrant"), 2]
    padding = 256 - len(ids)
    with torch.no_grad():
        mask = torch.tensor([[1] * len(ids) + [0] * padding])
        states = encoder.transformer(torch.tensor([ids + [1] * padding]), mask)[0][0]
    assert found.token_counts == (len(ids) - 1,) and found.pooling == "mean"
    torch.testing.assert_close(found.embeddings[0], states[: len(ids) - 1].mean(0), rtol=1e-5, atol=1e-5)


def test_a_template_for_empty_texts_alone_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """Boogu, PixelDiT and Lens read the empty text in another way than all others."""
    (boogu,) = (encoder for encoder in CAUSAL if encoder.name == "Boogu")
    clip = boogu.make(monkeypatch)
    found = encode_concepts(clip, parse_concepts("dragon"))
    assert found.token_counts == (1,) and found.embeddings[0, 0] == boogu.tokens(clip, "dragon")[0]


def test_the_reader_clip_is_the_authors_first_tokens_of_one_line() -> None:
    """Each of these concepts is one token: the start token and the next three, T5 behind them, are what they take."""
    clip = sd3()
    found = encode_concepts(clip, parse_concepts("house, tree, sky"), reader="clip")
    states = clip.encode_from_tokens_scheduled(clip.tokenize("house tree sky"))[0][0]
    assert states.shape == (1, 77 + 77, 4096)
    assert found.context_tokens is not None
    assert torch.equal(torch.cat([found.context_tokens, found.embeddings]), states[0, :4])
    assert (found.token_counts, found.pooling, found.read_by) == ((1, 1, 1), "last", "clip")


@pytest.mark.parametrize("pooling, place", [("first", 0), ("last", -1), ("auto", -1)])
def test_in_the_reader_clip_a_concept_of_several_tokens_moves_no_other(pooling: Any, place: int) -> None:
    clip = sd3(t5=False)
    texts = ("skyscraper", "fire hydrant (red)", "sky")
    found = encode_concepts(clip, [Concept(text, text) for text in texts], pooling, "clip")
    ids = [library_ids(clip.tokenizer.clip_l.tokenizer, text) for text in texts]
    assert found.token_counts == tuple(map(len, ids)) and max(map(len, ids)) > 3
    ends = [sum(map(len, ids[:number])) + (0 if place == 0 else len(ids[number]) - 1) for number in range(3)]
    expected = [[own[place], 1 + end] for own, end in zip(ids, ends, strict=True)]
    assert found.embeddings[:, :2].tolist() == expected


def test_in_the_reader_clip_concepts_depend_on_those_before_them() -> None:
    module = text_encoder_module("sd3_clip")
    sizes = {"hidden_size": 32, "intermediate_size": 32, "num_attention_heads": 2, "num_hidden_layers": 3}
    clip = make_clip(module.SD3Tokenizer, module.sd3_clip(clip_g=False, t5=False), clip_l_model_config=sizes)
    fill(clip.cond_stage_model.clip_l)
    one, two = (encode_concepts(clip, parse_concepts(text), reader="clip") for text in ("house, sky", "tree, sky"))
    alone = encode_concepts(clip, parse_concepts("house, sky"))
    assert float((one.embeddings[1] - two.embeddings[1]).abs().max()) > 0.01
    torch.testing.assert_close(one.embeddings[0], alone.embeddings[0], rtol=1e-5, atol=1e-5)
    assert alone.context_tokens is None


@pytest.mark.parametrize("reader", ["auto", "t5"])
def test_the_reader_t5_is_what_auto_takes(reader: Any) -> None:
    clip = sd3()
    found = encode_concepts(clip, parse_concepts("sky"), reader=reader)
    assert found.embeddings[0, :2].tolist() == [library_ids(clip.tokenizer.t5xxl.tokenizer, "sky")[0], 0]


@pytest.mark.parametrize(
    "make, reader, message",
    [
        (lambda _: sd3(t5=False), "t5", 'The reader "t5" needs T5, and this text encoder has g, l.'),
        (lambda _: sd3(False, False), "clip", 'The reader "clip" needs CLIP, and this text encoder has t5xxl.'),
        (lambda patch: CAUSAL[1].make(patch), "t5", 'The reader "t5" needs T5, and this text encoder has qwen3_4b.'),
        (
            lambda patch: BIDIRECTIONAL[1].make(patch),
            "clip",
            'The reader "clip" needs CLIP, and this text encoder has t5xxl, llama.',
        ),
    ],
)
def test_a_reader_that_an_encoder_does_not_have_is_refused(
    make: Callable[[Any], Any], reader: Any, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValueError) as error:
        encode_concepts(make(monkeypatch), parse_concepts("sky"), reader=reader)
    assert str(error.value) == f'{message} Load the encoder that is missing, or choose "auto".'


def test_the_encoder_of_quoted_letters_is_no_t5_to_read_concepts() -> None:
    """HunyuanImage gives what is quoted to a ByT5, too."""
    with pytest.raises(ValueError, match='^The reader "t5" needs T5, and this text encoder has qwen25_7b. '):
        encode_concepts(clip_of("HunyuanImage 2.1"), [Concept("sign", 'a "red" sign')], reader="t5")


def test_clip_is_no_reader_where_the_model_gets_it_pooled(tiny_clip: Any) -> None:
    with pytest.raises(ValueError, match='^The reader "clip" needs the tokens of CLIP, and this model gets none'):
        encode_concepts(tiny_clip, parse_concepts("sky"), reader="clip")


def test_a_line_that_does_not_fit_is_refused() -> None:
    concepts = [Concept(f"thing {number}", "red boat") for number in range(40)]
    with pytest.raises(ValueError, match="^The concepts together are longer than the 77 tokens that CLIP can take"):
        encode_concepts(sd3(), concepts, reader="clip")


@pytest.mark.parametrize(
    "text, message",
    [
        ("\u200b", 'Concept "it" has no tokens: the text encoder reads "\u200b" as nothing.'),
        (
            "a 🦆",
            'Concept "it": The text encoder does not know every word in "a 🦆". '
            'Use other characters than "🦆" (U+1F986).',
        ),
        ("my embedding:duck", 'Concept "it" names an embedding file, expected words: "my embedding:duck".'),
    ],
)
def test_what_cannot_be_read_is_refused_by_name(tiny_clip: Any, text: str, message: str) -> None:
    with pytest.raises(ValueError) as error:
        encode_concepts(tiny_clip, [Concept("sky", "sky"), Concept("it", text)])
    assert str(error.value) == message


def test_a_concept_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match='^Concept "much" is longer than the 77 tokens that fit. Rephrase it.$'):
        encode_concepts(sd3(t5=False), [Concept("much", "red " * 90)])


def test_an_encoder_that_is_not_there_is_said_to_give_nothing() -> None:
    with pytest.raises(ValueError, match='^Concept "sky" has no tokens'):
        encode_concepts(sd3(False, False, False), parse_concepts("sky"))


def test_no_concepts_and_unknown_poolings_are_refused_before_encoding() -> None:
    with pytest.raises(ValueError, match="no concepts"):
        encode_concepts(SimpleNamespace(), [])
    with pytest.raises(ValueError, match="'max' does not exist"):
        encode_concepts(SimpleNamespace(), parse_concepts("sky"), "max")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="'both' does not exist. Choose one of auto, t5, clip."):
        encode_concepts(SimpleNamespace(), parse_concepts("sky"), reader="both")  # type: ignore[arg-type]


@pytest.mark.skipif(
    "text_encoder_model" not in inspect.signature(comfy.text_encoders.lt.ltxav_te).parameters,
    reason="this ComfyUI's LTX-2 has another text encoder",
)
@pytest.mark.parametrize(("make", "key"), [(ltx2, "gemma3_12b"), (ltx25, "gemma4")])
def test_ltx_2_gives_the_tokens_behind_those_that_pad_at_the_left(make: Callable[[], Any], key: str) -> None:
    clip = make()
    found = encode_concepts(clip, parse_concepts("fire hydrant, sky"))
    for concept, text, count in zip(found.concepts, found.texts, found.token_counts, strict=True):
        assert count == len(library_ids(tokenizer_of(clip, key), concept.text))
        assert text.own == (1, 1 + count) and len(text.states) == 1 + count  # behind the start token
        assert text.options["unprocessed_ltxav_embeds"]
