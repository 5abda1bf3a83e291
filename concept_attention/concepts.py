"""Concepts to look for in an image: parsing what users write, and file names made from it."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from .errors import UserError

Role = Literal["concept", "background"]

_SLUG_BYTES = 80  # leaves room for prefix, number and suffix in the 255 bytes a file name may have
_RESERVED = {"con", "prn", "aux", "nul"} | {f"{port}{digit}" for port in ("com", "lpt") for digit in "0123456789¹²³"}
# Letters and marks that show nothing and that some file systems ignore when they compare names.
_INVISIBLE = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]")
_REORDERING = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")  # marks of writing direction


@dataclass(frozen=True)
class Concept:
    """One thing to look for.

    Attributes:
        name: short name, unique among the concepts of a run.
        text: what the text encoder reads.
        role: `background` concepts compete for tokens but are not of interest themselves.
    """

    name: str
    text: str
    role: Role = "concept"

    def __post_init__(self) -> None:
        for field in ("name", "text"):
            value = getattr(self, field)
            if not isinstance(value, str) or not value.strip():
                raise UserError(f"A concept's {field} must be a non-empty text, got {value!r}.")
        if any(unicodedata.category(char) in ("Cc", "Cs") for char in self.name):
            raise UserError(f"A concept's name must not have control characters, got {self.name!r}.")
        if any(unicodedata.category(char) == "Cs" for char in self.text):
            raise UserError(f'The text of "{self.name}" has half a character, got {self.text!r}. Type it again.')
        if self.role not in get_args(Role):
            raise UserError(f'Role of "{self.name}" must be concept or background, got {self.role!r}.')


def parse_concepts(text: str | Sequence[str], background: str | Sequence[str] = "") -> tuple[Concept, ...]:
    r"""Parse the concepts that a user wrote.

    Args:
        text: one concept per line or comma-separated; `name: longer phrase` gives the encoder more to read
            than the name. `\,`, `\:` and `\\` stand for the character itself. In a sequence every item is
            exactly one concept, and a comma is only a comma.
        background: concepts of role `background`, written the same way; may be empty.

    Returns:
        Concepts first, background after them, each in the order written. Names and phrases are NFC with
        single spaces, without the invisible marks that reorder what stands beside them.

    Raises:
        UserError: if there is no concept, one is empty, or a name occurs twice (case does not count);
            the message names the line.

    >>> parse_concepts("sky, house: a red house", background="grass")[1]
    Concept(name='house', text='a red house', role='concept')
    >>> [concept.name for concept in parse_concepts("sky\nhouse, tree", "grass")]
    ['sky', 'house', 'tree', 'grass']
    """
    sources: tuple[tuple[str | Sequence[str], Role, str], ...] = (
        (text, "concept", "Line"),
        (background, "background", "Background line"),
    )
    concepts: list[Concept] = []
    places: dict[str, str] = {}
    for source, role, label in sources:
        for number, entry in _entries(source, label):
            place = f"{label} {number}"
            concept = _parse_entry(entry, role, place)
            key = _folded(concept.name)
            if key in places:
                raise UserError(f'{place}: "{concept.name}" is already on {places[key].lower()}. Use every name once.')
            places[key] = place
            concepts.append(concept)
    if not any(concept.role == "concept" for concept in concepts):
        raise UserError("There are no concepts. Write at least one, such as: sky, house, tree.")
    return tuple(concepts)


def concept_index(concepts: Sequence[Concept], name: str) -> int:
    """Position of the concept called `name` (case does not count).

    Raises:
        UserError: if there is none; the message lists the names there are.
    """
    key = _folded(_tidy(name))
    for index, concept in enumerate(concepts):
        if _folded(_tidy(concept.name)) == key:
            return index
    available = ", ".join(concept.name for concept in concepts)
    raise UserError(f'There is no concept "{name}". Choose one of: {available}.')


def slugs(names: Sequence[str]) -> tuple[str, ...]:
    """File names (without suffix) for `names`, safe on Linux, macOS and Windows.

    Letters of every script stay (NFC); anything else becomes an underscore. Names that would meet, also on
    file systems that ignore case, get a number: `sky`, `Sky_2`.
    """
    result: dict[str, str] = {}  # what a file system that ignores case compares: slug
    last: dict[str, int] = {}  # number that a slug was given last
    for name in names:
        base = slug = _slug(name)
        while (key := _folded(slug.upper())) in result:
            last[base] = last.get(base, 1) + 1
            slug = f"{base}_{last[base]}"
        result[key] = slug
    return tuple(result.values())


def shorten_names(concepts: Sequence[Concept], most: int = 5) -> str:
    """The names of the first concepts, and how many more there are.

    >>> shorten_names(parse_concepts("sky, house, tree"), most=2)
    'sky, house and 1 more'
    """
    more = f" and {len(concepts) - most} more" if len(concepts) > most else ""
    return ", ".join(concept.name for concept in concepts[:most]) + more


def is_reserved(name: str) -> bool:
    """Whether Windows takes a file of this name, with any suffix, for a device."""
    return name.partition(".")[0].strip().casefold() in _RESERVED


def in_line(text: str) -> str:
    """A text with a mark behind it that keeps the figures of its line in their places, if it is read right to left."""
    directions = {unicodedata.bidirectional(char) for char in text}
    return f"{text}\u200e" if directions & {"R", "AL", "AN"} else text


def _entries(source: str | Sequence[str], label: str) -> Iterator[tuple[int, str]]:
    """(line number, one concept as written) for every concept of the source."""
    is_text = isinstance(source, str)
    for number, line in enumerate(source.splitlines() if isinstance(source, str) else source, start=1):
        if is_text and not line.strip():
            continue
        for entry in _split(line, ",") if is_text else [line]:
            if not entry.strip():
                raise UserError(f'{label} {number} has an empty concept: "{line}". Remove the comma.')
            yield number, entry


def _parse_entry(entry: str, role: Role, place: str) -> Concept:
    name, *phrase = (_tidy(re.sub(r"\\([,:\\])", r"\1", part)) for part in _split(entry, ":", 1))
    if not name or phrase == [""]:
        missing = "phrase after" if name else "name before"
        raise UserError(f'{place}: "{entry.strip()}" has no {missing} the colon. Add it, or write \\: instead.')
    return Concept(name, phrase[0] if phrase else name, role)


def _split(text: str, separator: str, maxsplit: int = 0) -> list[str]:
    """Split at separators that no backslash escapes; the escapes stay."""
    parts: list[str] = []
    start = 0
    for found in re.finditer(rf"\\.|{separator}", text, re.DOTALL):
        if found[0] == separator and not (maxsplit and len(parts) == maxsplit):
            parts.append(text[start : found.start()])
            start = found.end()
    return [*parts, text[start:]]


def _tidy(text: str) -> str:
    return " ".join(_REORDERING.sub("", unicodedata.normalize("NFC", text)).split())


def _folded(name: str) -> str:
    """Equal for names that users or file systems may take for the same."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def _slug(name: str) -> str:
    visible = _INVISIBLE.sub("", unicodedata.normalize("NFC", name))
    kept = "".join(
        char if char.isalnum() or char == "-" or unicodedata.category(char).startswith("M") else "_" for char in visible
    )
    short = re.sub("_+", "_", kept).encode()[:_SLUG_BYTES].decode(errors="ignore").strip("-_")
    if not short:
        return "concept"
    return f"{short}_" if is_reserved(short) else short
