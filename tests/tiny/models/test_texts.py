"""Token ids made for training are those the shipped tokenizers give."""

from __future__ import annotations

from concept_attention.tiny.models.text_encoders import build_clip_tokenizer, build_t5_tokenizer
from concept_attention.tiny.models.texts import (
    TEXT_TOKENS,
    clip_row,
    concept_texts,
    t5_row,
    token_table,
    word_ids,
    words,
)
from concept_attention.tiny.world.scenes import LABELS, draw_scene, vocabulary

TABLE = token_table()
CAPTIONS = [draw_scene(seed, 64, 64).caption for seed in range(60)] + ["", "A Red House, and a DRAGON"]


def test_t5_rows_are_what_the_shipped_tokenizer_gives() -> None:
    tokenizer = build_t5_tokenizer(words())
    given = tokenizer(CAPTIONS, padding="max_length", max_length=TEXT_TOKENS, truncation=True).input_ids
    assert given == [t5_row(word_ids(caption, TABLE), TEXT_TOKENS) for caption in CAPTIONS]


def test_clip_rows_are_what_the_shipped_tokenizer_gives() -> None:
    tokenizer = build_clip_tokenizer(words())
    given = tokenizer(CAPTIONS, padding="max_length", max_length=77, truncation=True).input_ids
    assert given == [clip_row(word_ids(caption, TABLE), 77) for caption in CAPTIONS]


def test_every_caption_fits_and_has_no_unknown_word() -> None:
    for caption in CAPTIONS[:-1]:
        ids = word_ids(caption, TABLE)
        assert 2 not in ids
        assert len(ids) < TEXT_TOKENS


def test_unknown_words_are_marked() -> None:
    assert word_ids("a dragon", TABLE) == [TABLE["a"], 2]


def test_every_word_of_the_world_has_its_own_token() -> None:
    assert len(set(words())) == len(words())
    assert set(vocabulary()) < set(words())


def test_every_label_is_taught_bare_with_an_article_and_in_colours() -> None:
    texts = dict(concept_texts())
    assert len(texts) == len(concept_texts())
    for index, label in enumerate(LABELS):
        assert texts[label] == texts[f"a {label}"] == texts[f"red {label}"] == index
    assert texts["night sky"] == LABELS.index("sky")
