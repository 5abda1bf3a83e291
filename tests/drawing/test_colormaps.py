"""Colours, against published values and another model of colour blindness."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from concept_attention.drawing.colormaps import OKABE_ITO, colorize, concept_colors

VIRIDIS = {
    0.0: (0.267004, 0.004874, 0.329415),
    0.5: (0.127568, 0.566949, 0.550556),
    1.0: (0.993248, 0.906157, 0.143936),
}


def test_viridis_has_its_published_colours() -> None:
    drawn = colorize(torch.tensor([list(VIRIDIS)]))
    assert drawn.shape == (1, 3, 3) and drawn.dtype == torch.float32
    assert torch.allclose(drawn[0], torch.tensor(list(VIRIDIS.values())), atol=1e-6)


def test_values_are_read_on_the_given_scale_and_clamped() -> None:
    drawn = colorize(torch.tensor([[-50.0, -10.0, 0.0, 10.0, 99.0]]), vmin=-10, vmax=10)
    low, middle, high = (torch.tensor(colour) for colour in VIRIDIS.values())
    assert torch.allclose(drawn[0], torch.stack([low, low, middle, high, high]), atol=1e-6)


def test_a_large_map_has_the_colours_of_its_values() -> None:
    import matplotlib

    values = torch.rand(600, 5)
    expected = matplotlib.colormaps["magma"](((values + 1) / 3).numpy())[..., :3]
    assert np.array_equal(colorize(values, "magma", -1, 2).numpy(), expected.astype(np.float32))


def test_gray_is_the_value_itself_to_one_level() -> None:
    values = torch.linspace(0, 1, 101).reshape(1, -1)
    assert (colorize(values, "gray")[0] - values[0, :, None]).abs().max() <= 1 / 255


def test_an_empty_scale_draws_the_first_colour() -> None:
    drawn = colorize(torch.full((2, 2), 3.0), vmin=3, vmax=3)
    assert torch.allclose(drawn, torch.tensor(VIRIDIS[0.0]).expand(2, 2, 3), atol=1e-6)


@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        (torch.zeros(2, 2, 2), {}, r"\(2, 2, 2\)"),
        (torch.tensor([[float("nan")]]), {}, "finite"),
        (torch.zeros(2, 2), {"vmin": 1, "vmax": 0}, "vmin 1 and vmax 0"),
        (torch.zeros(2, 2), {"vmin": float("nan")}, "vmin"),
        (torch.zeros(2, 2), {"colormap": "virdis"}, "'virdis'.*viridis"),
    ],
)
def test_what_cannot_be_drawn_is_refused(values, options, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        colorize(values, **options)


def test_concept_colours_begin_with_okabe_and_itos() -> None:
    expected = [[int(code[i : i + 2], 16) for i in (1, 3, 5)] for code in OKABE_ITO]
    assert (concept_colors(7) * 255).round().int().tolist() == expected
    assert concept_colors(0).shape == (0, 3)


def test_first_colours_do_not_depend_on_the_count() -> None:
    many = concept_colors(40)
    for count in (1, 2, 7, 8, 12, 39):
        assert torch.equal(concept_colors(count), many[:count])


def _lab(colours: np.ndarray) -> np.ndarray:
    """CIE L*a*b* (D65) of linear RGB."""
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    x, y, z = np.cbrt((colours.clip(0, 1) @ to_xyz.T / [0.9505, 1.0, 1.089]).clip(1e-4)).T
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=1)


# Vienot, Brettel and Mollon (1999): another simulation than the one the palette was made with.
VIENOT = {
    "normal": np.eye(3),
    "protan": np.array([[0.11238, 0.88762, 0], [0.11238, 0.88762, 0], [0.00401, -0.00401, 1]]),
    "deutan": np.array([[0.29275, 0.70725, 0], [0.29275, 0.70725, 0], [-0.02234, 0.02234, 1]]),
}


@pytest.mark.parametrize("vision", VIENOT)
def test_twelve_concepts_stay_apart_for_colour_blind_readers(vision: str) -> None:
    linear = concept_colors(12).double().numpy() ** 2.2
    seen = _lab(linear @ VIENOT[vision].T)
    closest = min(np.linalg.norm(one - other) for one, other in itertools.combinations(seen, 2))
    assert closest > 8  # a difference of 2.3 is just noticeable


def test_many_concepts_get_different_colours_that_are_neither_black_grey_nor_white() -> None:
    colours = concept_colors(64)
    assert len({tuple(colour) for colour in colours.tolist()}) == 64
    assert ((colours >= 0) & (colours <= 1)).all()
    assert (colours.amax(dim=1) - colours.amin(dim=1)).min() > 0.1


def test_beyond_that_colours_repeat() -> None:
    assert torch.equal(concept_colors(130), concept_colors(64).repeat(3, 1)[:130])
