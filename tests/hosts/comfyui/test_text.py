"""Concept embeddings from ComfyUI's text encoders, against encoders called by hand and stubs that show their input."""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import comfy.sd
import comfy.supported_models_base
import comfy.text_encoders.flux
import comfy.text_encoders.longcat_image
import comfy.text_encoders.qwen_image
import comfy.text_encoders.sd3_clip
import comfy.text_encoders.z_image
import pytest
import torch
from torch import Tensor, nn

from concept_attention.concepts import Concept, parse_concepts
from concept_attention.hosts.comfyui.text import encode_concepts, literal, word_span

from .tiny import CPU, fill


def word_ids(tokenizer: Any, text: str) -> list[int]:
    """Ids of the text alone, by the tokenizer's own library."""
    return tokenizer(text, add_special_tokens=False)["input_ids"]


def t5_states(clip: Any, text: str, length: int = 256) -> Tensor:
    """Hidden states (length, E) of the tiny T5 called directly: the text, `</s>`, pads, and no mask."""
    ids = [*word_ids(clip.tokenizer.t5xxl.tokenizer, text), 1]
    padded = torch.tensor([ids + [0] * (length - len(ids))])
    with torch.no_grad():
        return clip.cond_stage_model.t5xxl.transformer(padded, None)[0][0]


class Mirror(nn.Module):
    """Stands in for an encoder of any size: token t's state is (its id, t, 1, 1, ...), `layers` times over."""

    def __init__(self, width: int = 8, layers: int = 0, masked: bool = True, **_: Any) -> None:
        super().__init__()
        self.width, self.layers, self.masked = width, layers, masked

    def encode_token_weights(self, batches: list[list[Any]]) -> tuple[Any, ...]:
        ids = torch.tensor([float(pair[0]) for batch in batches for pair in batch])
        states = torch.ones(1, len(ids), self.width)
        states[0, :, 0], states[0, :, 1] = ids, torch.arange(len(ids))
        if self.layers:
            states = states[:, None].repeat(1, self.layers, 1, 1)
        extra = ({"attention_mask": torch.ones(1, len(ids))},) if self.masked else ()
        return states, torch.zeros(1, 4), *extra

    def set_clip_options(self, options: dict[str, Any]) -> None:
        pass

    def reset_clip_options(self) -> None:
        pass


def make_clip(tokenizer: Any, model: Any, **options: Any) -> Any:
    target = comfy.supported_models_base.ClipTarget(tokenizer, model)
    devices = {"load_device": CPU, "offload_device": CPU, "dtype": torch.float32}
    return comfy.sd.CLIP(target, model_options={**devices, **options})


def first_word(clip: Any) -> int:
    """Where in the states of a prompt of one word that word is."""
    cat, dog = (clip.encode_from_tokens_scheduled(clip.tokenize(text))[0][0][0] for text in ("cat", "dog"))
    return int((cat != dog).any(dim=-1).nonzero()[0])


def sd3(clip_l: bool = True, clip_g: bool = True, t5: bool = True) -> Any:
    """SD3's three token lists and the way it joins them, with mirrors for encoders."""
    kind = comfy.text_encoders.sd3_clip
    clip = make_clip(kind.SD3Tokenizer, kind.sd3_clip(clip_l=False, clip_g=False, t5=False))
    clip.cond_stage_model.t5_attention_mask = False
    clip.cond_stage_model.clip_l = Mirror(768, masked=False) if clip_l else None
    clip.cond_stage_model.clip_g = Mirror(1280, masked=False) if clip_g else None
    clip.cond_stage_model.t5xxl = Mirror(4096, masked=False) if t5 else None
    return clip


def klein() -> Any:
    """A template that stays, padding behind it, three layers side by side."""
    kind = comfy.text_encoders.flux
    return make_clip(kind.KleinTokenizer, kind.klein_te(), qwen3_4b_class=functools.partial(Mirror, layers=3))


def z_image() -> Any:
    """A template that stays, no padding."""
    kind = comfy.text_encoders.z_image
    return make_clip(kind.ZImageTokenizer, kind.te(), qwen3_4b_class=Mirror)


def qwen_image() -> Any:
    """A template of which the front is cut off."""
    kind = comfy.text_encoders.qwen_image
    return make_clip(kind.QwenImageTokenizer, kind.te(), qwen25_7b_class=Mirror)


def longcat() -> Any:
    """A template cut off at both ends, padding before its end."""
    kind = comfy.text_encoders.longcat_image
    return make_clip(kind.LongCatImageTokenizer, kind.te(), qwen25_7b_class=Mirror)


@pytest.mark.parametrize("text", ["dragon", "fire hydrant", "Möwe am Fluß", "boat (red)", "a (b) c:1.2 ((d:2))"])
def test_a_concept_is_what_t5_makes_of_it_alone_and_padded(tiny_clip: Any, text: str) -> None:
    ids = word_ids(tiny_clip.tokenizer.t5xxl.tokenizer, text)
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
    assert found.token_counts == (4,) and found.pooling == pooling
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
    empty = encode_concepts(tiny_clip, parse_concepts("sky")).empty
    expected = tiny_clip.encode_from_tokens_scheduled(tiny_clip.tokenize(""))
    assert len(empty) == 1 and torch.equal(empty[0][0], expected[0][0])
    assert torch.equal(empty[0][1]["pooled_output"], expected[0][1]["pooled_output"])


def test_nothing_asks_for_gradients(tiny_clip: Any) -> None:
    found = encode_concepts(tiny_clip, parse_concepts("sky"))
    assert not found.embeddings.requires_grad and not found.empty[0][0].requires_grad


@pytest.mark.parametrize("make", [klein, z_image])
@pytest.mark.parametrize("text", ["dragon", "fire hydrant", "a {red} 船 (1)"])
def test_a_template_is_left_out(make: Callable[[], Any], text: str) -> None:
    clip = make()
    ids = word_ids(clip.tokenizer.qwen3_4b.tokenizer, text)
    first, last = (encode_concepts(clip, [Concept("it", text)], end) for end in ("first", "last"))  # type: ignore[arg-type]
    assert first.token_counts == (len(ids),)
    assert [first.embeddings[0, 0].item(), last.embeddings[0, 0].item()] == [ids[0], ids[-1]]
    assert last.embeddings[0, 1] - first.embeddings[0, 1] == len(ids) - 1


@pytest.mark.parametrize("make", [qwen_image, longcat])
@pytest.mark.parametrize("text", ["dragon", "fire hydrant", "船"])
def test_a_template_that_is_cut_off_is_left_out(make: Callable[[], Any], text: str) -> None:
    clip = make()
    ids = word_ids(clip.tokenizer.qwen25_7b.tokenizer, text)
    first, last = (encode_concepts(clip, [Concept("it", text)], end) for end in ("first", "last"))  # type: ignore[arg-type]
    assert first.token_counts == (len(ids),)
    assert [first.embeddings[0, 0].item(), last.embeddings[0, 0].item()] == [ids[0], ids[-1]]


@pytest.mark.parametrize("others", [{}, {"clip_l": False}, {"clip_l": False, "clip_g": False}])
def test_sd3_gives_the_t5_tokens_wherever_they_lie(others: dict[str, bool]) -> None:
    clip = sd3(**others)
    ids = word_ids(clip.tokenizer.t5xxl.tokenizer, "fire hydrant")
    found = encode_concepts(clip, [Concept("it", "fire hydrant")], "last")
    assert found.token_counts == (4,) and found.embeddings.shape == (1, 4096)
    assert found.embeddings[0, :2].tolist() == [ids[3], 3]


def test_sd3_without_its_t5_gives_the_tokens_of_clip() -> None:
    clip = sd3(t5=False)
    ids = word_ids(clip.tokenizer.clip_l.tokenizer, "fire hydrant")
    first, last = (encode_concepts(clip, [Concept("it", "fire hydrant")], end) for end in ("first", "last"))  # type: ignore[arg-type]
    assert first.token_counts == (len(ids),) != (4,)
    assert first.embeddings[0, :2].tolist() == [ids[0], 1]
    assert last.embeddings[0, :2].tolist() == [ids[-1], len(ids)]


def test_a_real_t5_in_sd3s_layout_is_the_one_in_fluxs(tiny_clip: Any) -> None:
    kind = comfy.text_encoders.sd3_clip
    sizes = {"d_model": 48, "d_ff": 64, "d_kv": 16, "num_heads": 2, "num_layers": 2}
    clip = make_clip(
        kind.SD3Tokenizer,
        kind.sd3_clip(clip_l=False, clip_g=False, t5=True, dtype_t5=torch.float32),
        t5xxl_model_config=sizes,
    )
    fill(clip.cond_stage_model.t5xxl)
    found = encode_concepts(clip, parse_concepts("hydrant: fire hydrant"))
    expected = t5_states(clip, "fire hydrant", 77)[:4].mean(0)
    torch.testing.assert_close(found.embeddings[0], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "text, message",
    [
        ("\u200b", 'Concept "it" has no tokens: the text encoder reads "\u200b" as nothing.'),
        ("a 🦆", 'Concept "it": The text encoder has no word for all of "a 🦆". Use other characters.'),
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


def test_parentheses_are_no_weights_and_everything_else_is_itself(tiny_clip: Any) -> None:
    for text in ("((a:1.5) b", r"\(", "a) (b", "\\", "plain"):
        pairs = tiny_clip.tokenize(literal(text))["t5xxl"][0]
        ids = word_ids(tiny_clip.tokenizer.t5xxl.tokenizer, text)
        assert [pair[0] for pair in pairs[: len(ids) + 1]] == [*ids, 1]
        assert {pair[1] for pair in pairs} == {1.0}


@pytest.mark.parametrize(
    "ids, empty, span",
    [
        ([7, 8, 1, 0, 0], [1, 0, 0, 0, 0], (0, 2)),  # T5, padded
        ([7, 8, 1], [1], (0, 2)),  # T5, not padded
        ([7, 1, 0], [1, 0], (0, 1)),  # T5, one pad always
        ([50, 7, 51, 51], [50, 51, 51, 51], (1, 2)),  # CLIP: padded with the end
        ([50, 51, 51, 51], [50, 51, 51, 51], (1, 1)),  # nothing
        ([9, 9, 5, 7, 7, 6], [9, 9, 9, 9, 5, 6], (3, 5)),  # padded in front
        ([5, 3, 7, 3, 6], [5, 3, 3, 6], (2, 3)),  # the template's own tokens on both sides
        ([5, 3, 3, 6], [5, 3, 6], (2, 3)),  # a text that repeats the template
        ([5, 7, 0, 0, 6], [5, 4, 0, 0, 6], (1, 2)),  # an empty text that is a blank; padding before the end
        ([7, 8, 9], [], (0, 3)),
        ([], [], (0, 0)),
    ],
)
def test_the_texts_own_tokens_are_those_that_the_empty_text_lacks(
    ids: list[int], empty: list[int], span: tuple[int, int]
) -> None:
    assert word_span(ids, empty) == span
