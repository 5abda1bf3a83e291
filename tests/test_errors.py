"""What a message may hold: it ends in logs, terminals and pages, whatever it quotes."""

from __future__ import annotations

import copy
import pickle

import pytest

from concept_attention.concepts import Concept, concept_index, parse_concepts
from concept_attention.drawing.preview import check_preview
from concept_attention.errors import UserError, printable
from concept_attention.selection import check_layers, parse_layers, parse_steps

CONCEPTS = (Concept("sky", "sky"), Concept("house", "house"))
QUOTING = {
    "layers": lambda text: parse_layers(text, 4, (1, 2)),
    "layers of any model": check_layers,
    "steps": lambda text: parse_steps(text, 4),
    "live preview": lambda text: check_preview(text, CONCEPTS),
    "a concept's name": lambda text: concept_index(CONCEPTS, text),
    "an empty concept": lambda text: parse_concepts(f"{text},,sky"),
    "a concept twice": lambda text: parse_concepts(f"sky: {text}, sky"),
    "a concept without phrase": lambda text: parse_concepts(f"{text}:"),
}


@pytest.mark.parametrize("quote", QUOTING.values(), ids=QUOTING)
@pytest.mark.parametrize(
    "text", ["\ud83d", "a\udc80", "\x1b[31m\0", "a\nb\u2028c", "\u202e12\u2067", "x" * 40_000, "\ud83d" * 40_000]
)
def test_a_message_is_short_and_can_be_written_anywhere(quote, text) -> None:
    with pytest.raises(UserError) as caught:
        quote(text)
    message = str(caught.value)
    assert message.encode() and len(message) < 800 and "\n" not in message
    assert not set(message) & set("\x1b\0\u202e\u2067") and message.endswith(".")


def test_what_upsets_a_line_is_escaped_and_the_rest_stays() -> None:
    assert printable("a\ud83d\x1b\u202e\u200f\x85b") == "a\\ud83d\\x1b\\u202e\\u200f\\x85b"
    for text in ("草原 🌲\tnaïve\nשמים", "👩\u200d👩 co\u00adop", "C:\\path\\n"):
        assert printable(text) == text


def test_a_long_text_keeps_what_is_wrong_and_what_to_do() -> None:
    message = str(UserError(f'"{"x" * 40_000}" is no concept. Choose sky or house.'))
    assert message.startswith('"xxx') and message.endswith('x" is no concept. Choose sky or house.')
    assert " … " in message and len(message) < 800


def test_an_error_can_be_copied_and_sent_to_another_process() -> None:
    error = UserError("What \ud83d is. Do.")
    assert str(copy.copy(error)) == str(pickle.loads(pickle.dumps(error))) == "What \\ud83d is. Do."  # noqa: S301
