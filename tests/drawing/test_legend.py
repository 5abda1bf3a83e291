"""Strips of text: colours where they should be, nothing outside, sizes that do not depend on numbers."""

from __future__ import annotations

import pytest
import torch

from concept_attention.drawing.colormaps import colorize
from concept_attention.drawing.legend import Entry, draw_caption, draw_legend, draw_scale
from concept_attention.drawing.lettering import make_label

COLOURS = [(230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (0, 114, 178), (213, 94, 0)]


def _entries(names: list[str], number: str = "5 %") -> list[Entry]:
    return [Entry(make_label(name), COLOURS[i % 6], number if i else "100 %") for i, name in enumerate(names)]


def _pixels_of(strip: torch.Tensor, colour: tuple[int, int, int]) -> torch.Tensor:
    """Rows and columns where the strip has exactly this 8-bit colour."""
    return ((strip * 255).round() == torch.tensor(colour)).all(dim=-1).nonzero()


@pytest.mark.parametrize("width", [64, 128, 512, 1024])
@pytest.mark.parametrize("names", [["tree", "sky"], ["a name that is much too long for this " * 5] * 6])
def test_every_entry_has_a_swatch_of_its_colour_and_the_border_stays_white(width: int, names) -> None:
    strip = draw_legend([("", _entries(names))], width, 11)
    assert strip.shape[1] == width
    for colour in COLOURS[: len(names)]:
        assert len(_pixels_of(strip, colour)) >= 81  # 11 x 11 without its outline
    border = torch.cat([strip[:4].reshape(-1, 3), strip[-4:].reshape(-1, 3), strip[:, -4:].reshape(-1, 3)])
    assert (border == 1).all()


def test_entries_are_read_down_then_across() -> None:
    strip = draw_legend([("", _entries(["a", "b", "c", "d"]))], 300, 11)
    corners = [_pixels_of(strip, colour).amin(dim=0).tolist() for colour in COLOURS[:4]]
    (a, b, c, d) = corners
    assert a[1] == b[1] < c[1] == d[1]  # two columns
    assert a[0] == c[0] < b[0] == d[0]


def test_columns_are_aligned_and_of_equal_width() -> None:
    strip = draw_legend([("", _entries(["a", "bb", "a longer name"]))], 800, 12)
    lefts = [int(_pixels_of(strip, colour)[:, 1].min()) for colour in COLOURS[:3]]
    assert lefts[1] - lefts[0] == lefts[2] - lefts[1] > 0


def test_background_entries_stand_below_under_their_heading() -> None:
    concept, background = _entries(["tree"]), [Entry(make_label("sky"), COLOURS[1], "9 %")]
    together = draw_legend([("", concept + background)], 128, 11)
    apart = draw_legend([("", concept), ("background", background)], 128, 11)
    assert apart.shape[0] > together.shape[0]
    swatch, below = (_pixels_of(apart, colour) for colour in COLOURS[:2])
    assert below[:, 0].min() - swatch[:, 0].max() > 1.5 * 11  # the heading's line lies between
    assert draw_legend([("", concept), ("background", [])], 128, 11).shape[0] < apart.shape[0]


def test_size_does_not_depend_on_the_numbers() -> None:
    shapes = {draw_legend([("", _entries(["tree", "sky"], n))], 200, 11).shape for n in ("0 %", "100 %", "<1 %")}
    assert len(shapes) == 1


def test_a_caption_keeps_name_and_note_apart() -> None:
    strip = draw_caption(make_label("a very long name " * 9), 200, 12, "background")
    note = make_label("background").width(12)
    gap = strip[:, 200 - note - 6 : 200 - note - 1]
    assert strip.shape == (18, 200, 3)
    assert (gap == 1).all() and (strip[:, : 200 - note - 6] < 0.5).any() and (strip[:, -note:] < 0.6).any()


def test_the_scale_shows_the_colour_map_from_low_to_high() -> None:
    strip = draw_scale("share", 0, 1, "viridis", 400, 12)
    row = strip[9]
    coloured = (row.amax(dim=-1) - row.amin(dim=-1) > 0.2).nonzero()[:, 0]
    bar = row[coloured[0] : coloured[-1] + 1]
    assert len(bar) == 144
    expected = colorize(torch.linspace(0, 1, 144)[None])[0]
    assert (bar - expected).abs().max() <= 0.5 / 255 + 1e-6


@pytest.mark.parametrize("width", [20, 60, 100])
def test_a_narrow_scale_is_drawn_without_its_title(width: int) -> None:
    assert draw_scale("stretched share", -12345.678, 9.5e-7, "gray", width, 11).shape == (16, width, 3)
