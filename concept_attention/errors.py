"""Errors that the user can fix."""

from __future__ import annotations

import unicodedata

_HEAD, _TAIL = 500, 240  # characters kept of a long text: what is wrong comes first, what to do last


class UserError(ValueError):
    """Bad input, or a request that cannot be met. The text says what is wrong, what was expected, and what to do.

    The command line prints it as one line. Any other exception is a bug and keeps its traceback.

    What a message quotes may be anything: the text is one line, see also `printable`.
    """

    __module__ = "concept_attention"  # ComfyUI shows this name, not the path of the folder that the pack is in

    def __init__(self, text: object = "") -> None:
        super().__init__(printable(" ".join(str(text).splitlines())))


def printable(text: str) -> str:
    r"""The text as any log, terminal or page can show it.

    Lone surrogates, which no file can be written with, control characters, and marks that reorder what is beside them
    become escapes; of a text of many thousand characters only the beginning and the end are left.

    >>> printable("a cat\ud83d"), len(printable("x" * 40_000)) < 800
    ('a cat\\ud83d', True)
    """
    text = "".join(_escaped(character) if _upsets(character) else character for character in text)
    return text if len(text) <= _HEAD + _TAIL else f"{text[:_HEAD]} … {text[-_TAIL:]}"


def _upsets(character: str) -> bool:
    category = unicodedata.category(character)
    reorders = category == "Cf" and unicodedata.bidirectional(character) != "BN"
    return category == "Cs" or reorders or (category == "Cc" and character not in "\t\n")


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode()
