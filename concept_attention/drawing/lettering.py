"""Text in images: a font that can write a name, shortened to the room there is."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from PIL import ImageFont

Colour = tuple[int, int, int]  # 8-bit RGB

INK: Colour = (28, 28, 30)
MUTED: Colour = (110, 110, 116)
PAPER: Colour = (255, 255, 255)

# Tried in this order, wherever the system keeps its fonts, for names DejaVu Sans cannot write.
SYSTEM_FONTS = (
    "NotoSansCJK-Regular.ttc",
    "SourceHanSans-Regular.ttc",
    "wqy-microhei.ttc",
    "DroidSansFallbackFull.ttf",
    "msyh.ttc",
    "malgun.ttf",
    "Arial Unicode.ttf",
    "Hiragino Sans GB.ttc",
    "AppleSDGothicNeo.ttc",
    "Nirmala.ttc",
    "LeelawUI.ttf",
    "NotoSans-Regular.ttf",
)
_MISSING = "□"
_LONGEST = 200  # characters; far more than any image has room for


@dataclass(frozen=True)
class Label:
    """One line of text together with the font file that can write all of it."""

    text: str
    font_file: str

    def font(self, size: int) -> ImageFont.FreeTypeFont:
        return _font(self.font_file, size)

    def width(self, size: int) -> int:
        """Pixels the text takes at this font size."""
        return -int(-self.font(size).getlength(self.text) // 1)

    def shortened(self, size: int, room: int) -> Label:
        """The same label in at most `room` pixels.

        What does not fit is cut from the middle, where names that only differ at their end stay different.
        The text is empty if there is no room even for the ellipsis.
        """
        if self.width(size) <= room:
            return self
        fits, too_many = 0, len(self.text)
        while too_many - fits > 1:
            middle = (fits + too_many) // 2
            if replace(self, text=_elide(self.text, middle)).width(size) <= room:
                fits = middle
            else:
                too_many = middle
        if fits == 0 and replace(self, text="…").width(size) > room:
            return replace(self, text="")
        return replace(self, text=_elide(self.text, fits))


def text_size(width: int, height: int, part: float = 0.035) -> int:
    """Font size in pixels for an image of this size: readable on small ones, in proportion on large ones."""
    return max(11, round(part * min(width, 1.5 * height)))


def make_label(text: str, number: int | None = None) -> Label:
    """Prepare any text for drawing on one line.

    White space is collapsed and control characters go. DejaVu Sans, which comes with matplotlib, writes
    Latin, Greek, Cyrillic, Arabic, Hebrew and many symbols. For other scripts a font of the system is used
    if it has one.

    Args:
        text: any text.
        number: written before the text if it holds a character that nothing here can write and that is
            therefore drawn as a hollow square, so that two such names can be told apart.
    """
    text = unicodedata.normalize("NFC", text)
    text = "".join(character for character in text if character.isspace() or not _is_control(character))
    text = " ".join(text.split())
    if len(text) > _LONGEST:
        text = _elide(text, _LONGEST - 1)
    default = _default_font_file()
    if text and _covers(default, text):
        return Label(text, default)
    for name in SYSTEM_FONTS:
        font_file = _system_font_file(name)
        if text and font_file is not None and _covers(font_file, text):
            return Label(text, font_file)
    drawable = "".join(_substitute(default, character) for character in text) or _MISSING
    return Label(drawable if number is None else f"{number}: {drawable}", default)


def _is_control(character: str) -> bool:
    """Characters that draw nothing and can upset a layout: controls, and marks that reorder what follows."""
    category, direction = unicodedata.category(character), unicodedata.bidirectional(character)
    return category == "Cc" or (category == "Cf" and direction != "BN")


def _elide(text: str, kept: int) -> str:
    """`text` with all but `kept` characters replaced by an ellipsis in the middle."""
    head, tail = text[: kept - kept // 2], text[len(text) - kept // 2 :]
    while tail and unicodedata.combining(tail[0]):
        tail = tail[1:]  # an accent whose letter was cut off
    return f"{head.rstrip()}…{tail.lstrip()}"


def _substitute(font_file: str, character: str) -> str:
    if _covers(font_file, character):
        return character
    draws_nothing_alone = unicodedata.category(character) in ("Cf", "Mn", "Me")
    return "" if draws_nothing_alone else _MISSING


@lru_cache(maxsize=1)
def _default_font_file() -> str:
    import matplotlib  # slow to import, and only drawing needs it

    return str(Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf"))


@lru_cache(maxsize=64)
def _system_font_file(name: str) -> str | None:
    try:
        return str(ImageFont.truetype(name, 12).path)  # Pillow knows where each system keeps its fonts
    except OSError:
        return None


@lru_cache(maxsize=256)
def _covers(font_file: str, text: str) -> bool:
    """Whether the font has a glyph for every character of the text."""
    from matplotlib.ft2font import FT2Font

    try:
        font = FT2Font(font_file)
    except RuntimeError:  # matplotlib cannot read every font that Pillow can
        return False
    return all(font.get_char_index(ord(character)) != 0 for character in text)


@lru_cache(maxsize=32)
def _font(font_file: str, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(font_file, size)
