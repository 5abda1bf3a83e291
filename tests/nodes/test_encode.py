"""ConceptEncode: encoded concepts and the report on their tokens."""

from __future__ import annotations

from typing import Any

import pytest

from ..support.comfyui.encoders import sd3
from .conftest import Pack

Landscape = tuple[Any, Any, Any]


def test_concepts_keep_their_order_names_and_roles(pack: Pack, landscape: Landscape) -> None:
    text, background = "house, lamp: a yellow sun\nboat\\, red: red boat", "sky"
    encoded = pack.run("ConceptEncode", clip=landscape[1], concepts=text, background=background)[0]
    assert [(concept.name, concept.text, concept.role) for concept in encoded.concepts] == [
        ("house", "house", "concept"),
        ("lamp", "a yellow sun", "concept"),
        ("boat, red", "red boat", "concept"),
        ("sky", "sky", "background"),
    ]
    assert len(encoded.embeddings) == 4


def test_the_node_says_how_many_tokens_there_are(pack: Pack, landscape: Landscape) -> None:
    inputs = {"clip": landscape[1], "concepts": "house, lamp: a yellow sun", "background": "sky"}
    assert pack.text(pack.run("ConceptEncode", **inputs)).splitlines() == [
        "house: 1 token",
        "lamp: 3 tokens, mean of all",
        "sky (background): 1 token",
    ]
    assert "lamp: 3 tokens, only the first one is used" in pack.text(
        pack.run("ConceptEncode", **inputs, pooling="first")
    )
    assert "lamp: 3 tokens, only the last one is used" in pack.text(pack.run("ConceptEncode", **inputs, pooling="last"))


def test_the_node_warns_where_there_is_no_background(pack: Pack, landscape: Landscape) -> None:
    lines = pack.text(pack.run("ConceptEncode", clip=landscape[1], concepts="car, flower")).splitlines()
    assert lines[:2] == ["car: 1 token", "flower: 1 token"]
    assert lines[2] == "No background: a concept also wins what nobody named, even if it is absent."
    assert len(lines) == 4


def test_pooling_chooses_what_stands_for_several_tokens(pack: Pack, landscape: Landscape) -> None:
    rows = {
        pooling: pack.run("ConceptEncode", clip=landscape[1], concepts="lamp: a yellow sun", pooling=pooling)[
            0
        ].embeddings
        for pooling in ("auto", "mean", "first", "last")
    }
    assert rows["auto"].equal(rows["mean"])
    assert not rows["mean"].equal(rows["first"]) and not rows["first"].equal(rows["last"])


def test_a_full_size_tokenizer_counts_its_own_tokens(pack: Pack, tiny_clip: Any) -> None:
    text = pack.text(pack.run("ConceptEncode", clip=tiny_clip, concepts="dragon, fire hydrant (red)"))
    assert text.splitlines()[0] == "dragon: 1 token"
    assert "fire hydrant (red): " in text and "mean of all" in text


def test_auto_and_the_reader_are_told_by_the_encoder(pack: Pack) -> None:
    """Stable Diffusion 3 without its T5: CLIP's last token has read the whole concept, its start token goes along."""
    clip = sd3(t5=False)
    inputs = {"clip": clip, "concepts": "house, fire hydrant"}
    alone = pack.run("ConceptEncode", **inputs)
    assert "fire hydrant: 3 tokens, only the last one is used" in pack.text(alone)
    together = pack.run("ConceptEncode", **inputs, reader="clip")[0]
    assert alone[0].context_tokens is None and len(together.context_tokens) == 1
    with pytest.raises(ValueError, match='^The reader "t5" needs T5'):
        pack.run("ConceptEncode", **inputs, reader="t5")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "There are no concepts. Write at least one"),
        ("  \n ", "There are no concepts. Write at least one"),
        ("house,, tree", 'Line 1 has an empty concept: "house,, tree". Remove the comma.'),
        ("house\nHouse", 'Line 2: "House" is already on line 1. Use every name once.'),
        ("house:", 'Line 1: "house:" has no phrase after the colon.'),
        ("zeppelin", 'Concept "zeppelin": The text encoder does not know every word in "zeppelin". It knows: '),
    ],
)
def test_bad_concepts_are_refused(pack: Pack, landscape: Landscape, text: str, words: str) -> None:
    with pytest.raises(ValueError) as caught:
        pack.run("ConceptEncode", clip=landscape[1], concepts=text)
    assert words in str(caught.value)
