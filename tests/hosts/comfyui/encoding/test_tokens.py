"""That the parentheses of a text are no weights."""

from __future__ import annotations

from typing import Any

import pytest

from concept_attention.hosts.comfyui.encoding.tokens import literal, tokenise

from ....support.comfyui.encoders import CAUSAL, Encoder, library_ids


@pytest.mark.parametrize("text", ["((a:1.5) b", r"\(", "a) (b", "\\", "plain"])
def test_parentheses_are_no_weights_and_everything_else_is_itself(tiny_clip: Any, text: str) -> None:
    pairs = tiny_clip.tokenize(literal(tiny_clip, text))["t5xxl"][0]
    ids = library_ids(tiny_clip.tokenizer.t5xxl.tokenizer, text)
    assert [pair[0] for pair in pairs[: len(ids) + 1]] == [*ids, 1]
    assert {pair[1] for pair in pairs} == {1.0}


@pytest.mark.parametrize(
    "encoder", [one for one in CAUSAL if one.name in ("LongCat-Image", "Lens")], ids=lambda e: e.name
)
def test_nothing_is_escaped_where_nothing_is_unescaped(encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = encoder.make(monkeypatch)
    assert literal(clip, "boat (red)") == "boat (red)"
    (ids,) = (lists[0] for lists in tokenise(clip, literal(clip, "boat (red)"))[1].values())
    own = encoder.tokens(clip, "boat (red)")
    assert own in [ids[start : start + len(own)] for start in range(len(ids))]
