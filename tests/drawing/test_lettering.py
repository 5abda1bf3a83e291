"""Text that fits: any Unicode name, on one line, never wider than its place."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import pytest

from concept_attention.drawing import lettering
from concept_attention.drawing.lettering import make_label, text_size

NAMES = [
    "tree",
    "a very long name of a red boat on the left",
    "дерево",
    "ὕδωρ",
    "شجرة",
    "山水",
    "🌳",
    "$x_1$",
]
FONTS = Path(matplotlib.get_data_path(), "fonts", "ttf")


@pytest.fixture
def no_system_fonts(monkeypatch) -> None:
    monkeypatch.setattr(lettering, "SYSTEM_FONTS", ())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("room", [0, 5, 12, 30, 100, 1000])
def test_a_shortened_label_fits_its_room(name: str, room: int) -> None:
    label = make_label(name).shortened(12, room)
    assert label.width(12) <= room
    assert label.font(12).getlength(label.text) <= room


def test_a_label_that_fits_is_left_alone() -> None:
    label = make_label("tree")
    assert label.shortened(12, label.width(12)) == label


def test_a_long_name_keeps_both_ends_and_as_much_as_fits() -> None:
    left, right = (make_label(f"a small red boat on the {side}") for side in ("left", "right"))
    short = left.shortened(12, 120).text
    assert short.startswith("a small") and "…" in short and short.endswith("left")
    assert short != right.shortened(12, 120).text
    one_more = len(short) + 2  # a space may have been trimmed on either side
    assert make_label("a small red boat on the left"[:one_more]).width(12) > 120 - 30


def test_an_accent_is_not_left_without_its_letter() -> None:
    text = "a" * 20 + "x\u0301" * 20  # no composed form exists
    for room in range(20, 120):
        tail = make_label(text).shortened(12, room).text.partition("…")[2]
        assert not tail.startswith("\u0301")


def test_a_name_of_a_novel_is_measured_quickly_and_fits() -> None:
    assert make_label("word " * 100_000).shortened(12, 200).width(12) <= 200


@pytest.mark.parametrize("name", ["tree", "дерево", "ὕδωρ", "شجرة", "ağaç", "$x_1$", "e\u0301té"])
def test_dejavu_writes_what_it_can(name: str) -> None:
    label = make_label(name, 3)
    assert Path(label.font_file).name == "DejaVuSans.ttf"
    assert len(label.text) == len(name.replace("e\u0301", "é"))


def test_spaces_are_collapsed_and_invisible_marks_removed() -> None:
    assert make_label("  red\n\tboat\u202e\u2066 \x07").text == "red boat"


def test_what_no_font_writes_becomes_squares_with_a_number(no_system_fonts) -> None:
    assert make_label("山水").text == "□□"
    assert make_label("山水", 3).text == "3: □□"
    assert make_label("🌳\ufe0f tree", 2).text.startswith("2: □")
    assert make_label("\u202e", 4).text == "4: □"


def test_a_font_of_the_system_is_used_for_other_scripts(monkeypatch) -> None:
    last_resort = str(FONTS / "LastResortHE-Regular.ttf")  # has a glyph for everything
    if not Path(last_resort).exists():
        pytest.skip("this matplotlib comes without a font for other scripts")
    monkeypatch.setattr(lettering, "SYSTEM_FONTS", ("no-such-font.ttf", str(FONTS / "cmr10.ttf"), last_resort))
    label = make_label("山水", 3)
    assert (label.text, label.font_file) == ("山水", last_resort)
    assert label.width(12) > 0


def test_text_grows_with_the_image_but_stays_readable() -> None:
    sizes = [text_size(side, side) for side in (64, 128, 256, 512, 1024, 2048)]
    assert sizes[0] == 11 and sizes == sorted(sizes) and sizes[-1] > 60
    assert text_size(4096, 256) < text_size(4096, 4096)  # a panorama's captions do not outgrow it
