"""Scores of `text_attention` against formulas that are spelled out."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

import concept_attention.text_attention as module
from concept_attention.text_attention import TextAttention, cross_scores, gram_scores, resize_scores

COUNTS = (1, 3, 2)


def attention(batch: int = 2, frames: int = 2, own_batch: int = 2) -> TextAttention:
    """Three heads of four features, ten image tokens, five words, three concepts."""
    generator = torch.Generator().manual_seed(0)
    tokens = 5 * frames
    image_q = torch.randn(batch, 3, tokens, 4, generator=generator)
    text_k = torch.randn(batch, 3, 5, 4, generator=generator)
    concept_k = torch.randn(own_batch, 3, sum(COUNTS), 4, generator=generator)
    image_out = torch.randn(batch, tokens, 12, generator=generator)
    return TextAttention(image_q, text_k, concept_k, COUNTS, image_out)


def naive_cross(one: TextAttention, bias: Tensor | None = None) -> Tensor:
    """The attention of every image token to every concept, (B, C, N), by loops."""
    batch, heads, tokens, width = one.image_q.shape
    result = torch.zeros(batch, len(COUNTS), tokens)
    for row in range(batch):
        for head in range(heads):
            own = one.concept_k[row if len(one.concept_k) > 1 else 0, head]
            for token in range(tokens):
                query = one.image_q[row, head, token] / math.sqrt(width)
                logits = one.text_k[row, head] @ query + (0 if bias is None else bias[row, 0, 0])
                weights = (own @ query).exp() / logits.exp().sum()
                for concept, part in enumerate(weights.split(COUNTS)):
                    result[row, concept, token] += part.mean() / heads
    return result


@pytest.mark.parametrize("own_batch", [1, 2])
def test_cross_scores_are_logarithms_of_attention(own_batch: int) -> None:
    one = attention(own_batch=own_batch)
    torch.testing.assert_close(cross_scores(one).exp(), naive_cross(one), rtol=1e-5, atol=1e-6)


def test_cross_scores_respect_the_prompts_mask() -> None:
    one = attention()
    bias = torch.zeros(2, 1, 1, 5)
    bias[0, ..., 3:] = -1e30
    expected = naive_cross(one, bias)
    torch.testing.assert_close(cross_scores(one._replace(text_bias=bias)).exp(), expected, rtol=1e-5, atol=1e-6)
    by_query = bias.expand(-1, -1, one.image_q.shape[2], -1)
    torch.testing.assert_close(cross_scores(one._replace(text_bias=by_query)).exp(), expected, rtol=1e-5, atol=1e-6)


def test_cross_scores_do_not_depend_on_the_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    one = attention()._replace(text_bias=torch.randn(2, 1, 10, 5))
    whole = cross_scores(one)
    monkeypatch.setattr(module, "_CHUNK_ELEMENTS", 200)
    torch.testing.assert_close(cross_scores(one), whole)


def test_the_softmax_over_words_of_the_prompt_is_their_part_of_its_attention() -> None:
    one = attention()
    words = one._replace(concept_k=one.text_k, counts=(1,) * 5)
    weights = torch.softmax(one.image_q @ one.text_k.transpose(-1, -2) / 2, dim=-1).mean(1).transpose(1, 2)
    torch.testing.assert_close(torch.softmax(cross_scores(words), dim=1), weights)


@pytest.mark.parametrize("frames", [1, 2])
def test_gram_scores_are_similarities_to_the_anchor(frames: int) -> None:
    one = attention(frames=frames)
    assert one.image_out is not None
    values = one.image_out.unflatten(-1, (3, 4))
    expected = torch.zeros(2, len(COUNTS), 5 * frames)
    for row in range(2):
        for concept, keys in enumerate(one.concept_k[row].split(COUNTS, dim=1)):
            for head in range(3):
                for frame in range(frames):
                    part = slice(5 * frame, 5 * frame + 5)
                    fit = one.image_q[row, head, part] @ keys[head].mean(0)
                    output = values[row, part, head]
                    similar = torch.cosine_similarity(output, output[int(fit.argmax())][None], dim=-1)
                    expected[row, concept, part] += similar / 3
    found = gram_scores(one, frames)
    torch.testing.assert_close(found, expected)
    assert found.max() <= 1 + 1e-6 and found.min() >= -1 - 1e-6


def test_gram_needs_the_attentions_output() -> None:
    with pytest.raises(ValueError, match="gram needs the attention's output"):
        gram_scores(attention()._replace(image_out=None))


def test_resizing_interpolates_the_attention_and_not_its_logarithm() -> None:
    scores = torch.tensor([[[0.0, math.log(3.0)]]])  # one concept, two tokens in a row
    resized = resize_scores(scores, (1, 1, 2), (1, 1, 4), logarithms=True)
    torch.testing.assert_close(resized.exp(), torch.tensor([[[1.0, 1.5, 2.5, 3.0]]]))
    plain = resize_scores(scores.exp(), (1, 1, 2), (1, 1, 4), logarithms=False)
    torch.testing.assert_close(plain, torch.tensor([[[1.0, 1.5, 2.5, 3.0]]]))
    assert resize_scores(scores, (1, 1, 2), (1, 1, 2), logarithms=True) is scores


def test_frames_are_resized_one_by_one() -> None:
    scores = torch.randn(2, 3, 2 * 6)
    resized = resize_scores(scores, (2, 2, 3), (2, 4, 6), logarithms=True)
    for frame in range(2):
        alone = resize_scores(scores[..., 6 * frame : 6 * frame + 6], (1, 2, 3), (1, 4, 6), logarithms=True)
        torch.testing.assert_close(resized[..., 24 * frame : 24 * frame + 24], alone)
