"""Heatmaps over images: the blending rule pixel by pixel, layout, and images that do not fit."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor

from concept_attention.choices import Kind
from concept_attention.concepts import Concept
from concept_attention.drawing.colormaps import colorize, concept_colors
from concept_attention.drawing.overlay import overlay_each, overlay_grid, overlay_segmentation, select_maps
from concept_attention.errors import UserError
from concept_attention.heatmaps.heatmaps import Heatmaps
from concept_attention.heatmaps.resize import resize_maps
from concept_attention.images import check_image

UNICODE = [
    "a very long name of a red boat on the left, much too long for any legend",
    "山水",
    "🌳",
    "شجرة",
    "x",
    "$y$",
]


def _image(height: int, width: int, seed: int = 0) -> Tensor:
    return torch.rand(height, width, 3, generator=torch.Generator().manual_seed(seed))


def _heatmaps(
    names: list[str],
    height: int,
    width: int,
    kind="share",
    background: int = 0,
    batch: int = 2,
    frames: int = 0,
) -> Heatmaps:
    shape = (batch, len(names), *((frames,) if frames else ()), height // 16, width // 16)
    scores = torch.randn(shape, generator=torch.Generator().manual_seed(1)) * 3
    concepts = tuple(
        Concept(name, name, "background" if i >= len(names) - background else "concept") for i, name in enumerate(names)
    )
    return Heatmaps(scores if kind == "score" else scores.softmax(dim=1), concepts, kind, (height, width))


def _overlay_one(image: Tensor, heatmap: Tensor, size: tuple[int, int], **options) -> Tensor:
    """One share map (h, w) of an image of this size, drawn over it."""
    heatmaps = Heatmaps(heatmap[None, None], (Concept("a", "a"),), "share", size)
    return overlay_each(image, heatmaps, legend=False, **options)[0]


def _blended(image: Tensor, plane: Tensor, colormap: str, opacity: float, low: float, high: float) -> Tensor:
    """One map (h, w) in colour, blended with its image."""
    resized = resize_maps(plane, (image.shape[0], image.shape[1]))
    return image * (1 - opacity) + colorize(resized, colormap, low, high) * opacity


def test_overlay_is_the_plain_alpha_blend() -> None:
    image, heatmap = _image(4, 6), torch.linspace(0, 1, 24).reshape(4, 6)
    drawn = _overlay_one(image, heatmap, (4, 6), colormap="magma", opacity=0.25, blend="even")
    colours = colorize(heatmap, "magma")
    for y in range(4):
        for x in range(6):
            for channel in range(3):
                expected = float(image[y, x, channel]) * 0.75 + float(colours[y, x, channel]) * 0.25
                assert float(drawn[y, x, channel]) == pytest.approx(expected, abs=1e-6)


def test_by_value_the_opacity_is_the_share_of_the_highest() -> None:
    image, heatmap = _image(4, 6), torch.linspace(0, 1, 24).reshape(4, 6)
    drawn = _overlay_one(image, heatmap, (4, 6), colormap="magma", opacity=0.8)
    colours = colorize(heatmap, "magma")
    for y in range(4):
        for x in range(6):
            alpha = 0.8 * float(heatmap[y, x])
            for channel in range(3):
                expected = float(image[y, x, channel]) * (1 - alpha) + float(colours[y, x, channel]) * alpha
                assert float(drawn[y, x, channel]) == pytest.approx(expected, abs=1e-6)


def test_by_value_scores_are_opaque_from_the_lowest_to_the_highest() -> None:
    image, heatmaps = _image(32, 48), _heatmaps(["a", "b"], 32, 48, kind="score")
    low, high = (float(heatmaps.resized().values[0].flatten().aminmax()[i]) for i in (0, 1))
    drawn = overlay_each(image, heatmaps, opacity=1, legend=False)
    for values, one in zip(heatmaps.resized().values[0], drawn, strict=True):
        alpha = ((values - low) / (high - low))[..., None]
        assert torch.allclose(one, image * (1 - alpha) + colorize(values, "viridis", low, high) * alpha, atol=1e-5)


def test_by_value_one_level_everywhere_is_the_image() -> None:
    """There is no highest value to be opaque."""
    flat = Heatmaps(torch.full((1, 1, 2, 2), 3.0), (Concept("a", "a"),), "score", (8, 8))
    image = _image(8, 8)
    assert torch.equal(overlay_each(image, flat, legend=False)[0], image)


def test_an_unknown_blend_is_refused_with_those_there_are() -> None:
    with pytest.raises(UserError, match="Blend 'screen' does not exist. Choose one of by value, even."):
        _overlay_one(_image(8, 8), torch.rand(8, 8), (8, 8), blend="screen")


def test_opacity_zero_is_the_image_and_one_the_colours() -> None:
    image, heatmap = _image(8, 8), torch.rand(8, 8)
    assert torch.equal(_overlay_one(image, heatmap, (8, 8), opacity=0), image)
    assert torch.equal(_overlay_one(image, heatmap, (8, 8), opacity=1, blend="even"), colorize(heatmap))


def test_an_edge_between_tokens_lies_on_their_border_in_the_image() -> None:
    heatmap = torch.zeros(2, 4)
    heatmap[:, 2:] = 1
    red = _overlay_one(torch.zeros(32, 64, 3), heatmap, (32, 64), colormap="gray", opacity=1, blend="even")[0, :, 0]
    assert (red[:32] < 0.5).all() and (red[32:] > 0.5).all()
    assert torch.allclose(red, 1 - red.flip(0), atol=2 / 255)  # symmetrical about the middle


def test_shares_are_not_stretched() -> None:
    faint = torch.tensor([[0.0, 0.1]]).expand(2, 2)
    low = _overlay_one(torch.zeros(16, 16, 3), faint, (16, 16), colormap="gray", opacity=1, blend="even")
    assert low.max() <= 0.11


def test_segmentation_paints_the_winner_of_every_pixel() -> None:
    image, heatmaps = _image(32, 48), _heatmaps(["a", "b", "c"], 32, 48)
    drawn = overlay_segmentation(image, heatmaps, 1, opacity=0.5, legend=False)
    values, colours = heatmaps.resized().values[1], concept_colors(3)
    assert drawn.shape == image.shape
    for y in range(32):
        for x in range(48):
            winner = max(range(3), key=lambda c: float(values[c, y, x]))
            expected = 0.5 * image[y, x] + 0.5 * colours[winner]
            assert torch.allclose(drawn[y, x], expected, atol=1e-6)


@pytest.mark.parametrize("brightness", [0.0, 1.0])
@pytest.mark.parametrize("size", [(128, 128), (64, 256), (256, 64)])
@pytest.mark.parametrize("names", [["tree", "sky"], UNICODE * 2, ["one"]])
def test_the_legend_stands_below_an_untouched_image_on_white(brightness, size, names) -> None:
    names = [f"{name}{i}" for i, name in enumerate(names)]
    image, heatmaps = torch.full((*size, 3), brightness), _heatmaps(names, *size, background=len(names) // 2)
    drawn = overlay_segmentation(image, heatmaps)
    assert drawn.shape[1] == size[1] and drawn.shape[0] > size[0]
    assert torch.equal(drawn[: size[0]], overlay_segmentation(image, heatmaps, legend=False))
    legend = drawn[size[0] :]
    assert (legend == 1).all(dim=-1).float().mean() > 0.5
    assert legend.mean(dim=-1).min() < 0.25  # dark text on it, whatever the image


def test_the_legend_names_background_concepts_apart_and_counts_pixels() -> None:
    values = torch.tensor([[0.7, 0.7, 0.7, 0.1], [0.2, 0.2, 0.2, 0.8]]).reshape(1, 2, 1, 4)
    concept, plain = Concept("tree", "tree"), Concept("sky", "sky")
    background = Concept("sky", "sky", "background")
    image = torch.zeros(64, 256, 3)
    marked = overlay_segmentation(image, Heatmaps(values, (concept, background), "share", (64, 256)))
    unmarked = overlay_segmentation(image, Heatmaps(values, (concept, plain), "share", (64, 256)))
    assert marked.shape[0] > unmarked.shape[0]
    assert torch.equal(marked[:64], unmarked[:64])
    other = Heatmaps(values.flip(1), (concept, plain), "share", (64, 256))  # tree now wins a quarter
    assert not torch.equal(overlay_segmentation(image, other)[64:], unmarked[64:])


def test_an_absent_concept_stays_in_the_legend() -> None:
    values = torch.tensor([0.6, 0.3, 0.1]).reshape(1, 3, 1, 1).expand(1, 3, 4, 4).contiguous()
    heatmaps = Heatmaps(values, tuple(Concept(n, n) for n in "abc"), "share", (64, 64))
    legend = overlay_segmentation(torch.zeros(64, 64, 3), heatmaps)[64:]
    for colour in concept_colors(3):
        assert ((legend - colour).abs() < 1 / 255).all(dim=-1).sum() >= 81


def test_the_first_of_level_concepts_wins() -> None:
    heatmaps = Heatmaps(torch.full((1, 3, 2, 2), 1 / 3), tuple(Concept(n, n) for n in "abc"), "share", (32, 32))
    drawn = overlay_segmentation(torch.zeros(32, 32, 3), heatmaps, opacity=1, legend=False)
    assert (drawn == concept_colors(3)[0]).all()


def test_overlays_of_one_batch_have_one_size() -> None:
    heatmaps = _heatmaps(["tree", "sky", "water"], 64, 96, background=1)
    for draw in (overlay_segmentation, overlay_grid):
        first, second = (draw(_image(64, 96, seed), heatmaps, seed) for seed in range(2))
        assert first.shape == second.shape and not torch.equal(first, second)


def _find(sheet: Tensor, tile: Tensor) -> tuple[int, int] | None:
    """Top left corner of an exact copy of `tile` in `sheet`."""
    height, width = tile.shape[:2]
    for y, x in (sheet[..., 0] == tile[0, 0, 0]).nonzero().tolist():
        if torch.equal(sheet[y : y + height, x : x + width], tile):
            return y, x
    return None


@pytest.mark.parametrize(("kind", "low", "high"), [("share", 0, 1), ("stretched", 0, 1), ("score", None, None)])
def test_the_grid_holds_the_image_and_every_concept_in_aligned_tiles(kind, low, high) -> None:
    image, heatmaps = _image(48, 64), _heatmaps(["a", "b", "c", "d", "e"], 48, 64, kind)
    sheet = overlay_grid(image, heatmaps, 1, colormap="plasma", opacity=0.6, blend="even", columns=3)
    maps = heatmaps.resized().values[1]
    if low is None:
        low, high = float(maps.min()), float(maps.max())
    tiles = [image] + [_blended(image, one, "plasma", 0.6, low, high) for one in maps]
    places = [_find(sheet, tile) for tile in tiles]
    assert None not in places
    rows, columns = [sorted({place[axis] for place in places}) for axis in (0, 1)]
    assert places == [(y, x) for y in rows for x in columns]
    assert columns[2] - columns[1] == columns[1] - columns[0] > 64
    assert rows[1] - rows[0] > 48 + 11  # a caption fits between


def test_large_images_are_tiled_smaller_and_small_ones_as_they_are() -> None:
    large = overlay_grid(_image(512, 1024), _heatmaps(["a"], 512, 1024), columns=1, legend=False)
    assert 512 < large.shape[1] < 600
    small = overlay_grid(_image(64, 32), _heatmaps(["a"], 64, 32), columns=2, legend=False)
    assert 64 < small.shape[1] < 100
    sized = overlay_grid(_image(64, 32), _heatmaps(["a"], 64, 32), columns=1, tile_size=256, legend=False)
    assert 128 < sized.shape[1] < 160


def test_grid_without_legend_only_lacks_the_scale() -> None:
    image, heatmaps = _image(64, 64), _heatmaps(["a", "b"], 64, 64)
    full, bare = overlay_grid(image, heatmaps), overlay_grid(image, heatmaps, legend=False)
    assert full.shape[0] > bare.shape[0] and torch.equal(full[: bare.shape[0]], bare)


@pytest.mark.parametrize("size", [(128, 128), (64, 512), (512, 64), (16, 16)])
def test_long_and_unicode_names_do_not_change_the_layout(size: tuple[int, int]) -> None:
    image = _image(*size)
    plain = overlay_grid(image, _heatmaps(list("abcdef"), *size, background=2))
    odd = overlay_grid(image, _heatmaps(UNICODE, *size, background=2))
    assert plain.shape == odd.shape


def test_frames_of_a_video_are_chosen() -> None:
    video = _heatmaps(["a", "b"], 32, 32, frames=3)
    still = Heatmaps(video.values[:, :, 2].contiguous(), video.concepts, "share", (32, 32))
    image = _image(32, 32)
    assert torch.equal(overlay_segmentation(image, video, 1, frame=2), overlay_segmentation(image, still, 1))
    assert torch.equal(overlay_grid(image, video, 1, frame=2), overlay_grid(image, still, 1))
    with pytest.raises(UserError, match=r"Frame 3 .*\(0-2\)"):
        select_maps(video, 0, 3)


@pytest.mark.parametrize("draw", [overlay_segmentation, overlay_grid])
def test_heatmaps_of_another_aspect_are_refused_with_both_sizes(draw) -> None:
    with pytest.raises(UserError, match="64 x 32 .*32 x 32"):
        draw(_image(32, 64), _heatmaps(["a", "b"], 32, 32))


@pytest.mark.parametrize(
    ("image", "heatmaps"),
    [
        ((128, 85), (1024, 683)),
        ((667, 1003), (664, 1000)),
        ((664, 1000), (42, 63)),
        ((2048, 1365), (1024, 683)),
    ],
)
def test_rounding_is_not_another_aspect(image: tuple[int, int], heatmaps: tuple[int, int]) -> None:
    assert _overlay_one(torch.zeros(*image, 3), torch.zeros(2, 2), heatmaps).shape == (*image, 3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"index": 2}, r"Image 2 .*\(0-1\)"),
        ({"index": -1}, "Image -1"),
        ({"opacity": 1.5}, "got 1.5"),
        ({"colormap": "none such"}, "none such"),
        ({"columns": 0}, "at least 1 column"),
        ({"tile_size": 0}, "at least 1 pixel"),
    ],
)
def test_settings_out_of_range_are_refused(options: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        overlay_grid(_image(32, 32), _heatmaps(["a", "b"], 32, 32), **options)


def test_the_given_tensors_are_not_changed() -> None:
    image, heatmaps = _image(32, 32), _heatmaps(["a", "b"], 32, 32)
    before = image.clone(), heatmaps.values.clone()
    overlay_grid(image, heatmaps)
    overlay_segmentation(image, heatmaps)
    overlay_each(image, heatmaps, opacity=0, legend=False)[:] = 0
    assert torch.equal(image, before[0]) and torch.equal(heatmaps.values, before[1])
    assert torch.equal(check_image(image), image)


@pytest.mark.parametrize("kind", ["share", "score"])
def test_overlays_one_by_one_share_a_colour_scale_and_equal_single_ones(kind: Kind) -> None:
    image = _image(24, 36)
    values = torch.rand(2, 3, 4, 6, generator=torch.Generator().manual_seed(4)) * (1 if kind == "share" else 50)
    concepts = (Concept("a", "a"), Concept("b", "b"), Concept("c", "c", "background"))
    heatmaps = Heatmaps(values, concepts, kind, (24, 36))
    drawn = overlay_each(image, heatmaps, 1, opacity=0.5, blend="even", legend=False)
    assert drawn.shape == (3, 24, 36, 3)
    resized = heatmaps.resized().values[1]
    low, high = (0.0, 1.0) if kind == "share" else (float(resized.min()), float(resized.max()))
    for index in range(3):
        assert torch.equal(drawn[index], _blended(image, values[1, index], "viridis", 0.5, low, high))


def test_the_legend_of_overlays_one_by_one_lies_outside_the_image_and_is_of_one_size() -> None:
    heatmaps = _heatmaps(UNICODE, 160, 240)
    height, width = heatmaps.image_size
    image = _image(height, width)
    plain, with_legend = overlay_each(image, heatmaps, legend=False), overlay_each(image, heatmaps)
    assert with_legend.shape[0] == len(UNICODE) and with_legend.shape[2] == width
    above = next(top for top in range(height) if torch.equal(with_legend[:, top : top + height], plain))
    assert above > 0 and with_legend.shape[1] > above + height


def test_overlays_one_by_one_refuse_another_aspect() -> None:
    with pytest.raises(UserError, match="a different aspect ratio"):
        overlay_each(_image(24, 24), _heatmaps(["a", "b"], 160, 240))


def test_maps_larger_than_their_image_are_cut_off_and_not_squeezed() -> None:
    whole = _heatmaps(["a", "b"], 64, 96)
    cut = dataclasses.replace(whole, image_size=(56, 88), covered_size=(64, 96))
    inside = Heatmaps(whole.resized().values[..., :56, :88], whole.concepts, whole.kind, (56, 88))
    image = _image(56, 88)
    assert torch.equal(overlay_segmentation(image, cut), overlay_segmentation(image, inside))
    assert torch.equal(overlay_each(image, cut), overlay_each(image, inside))
    assert torch.equal(overlay_grid(image, cut), overlay_grid(image, inside))


def test_all_frames_of_a_video_have_one_colour_scale() -> None:
    video, image = _heatmaps(["a", "b"], 32, 32, kind="score", frames=3), _image(32, 32)
    low, high = float(video.values[1].min()), float(video.values[1].max())
    for frame in range(3):
        drawn = overlay_each(image, video, 1, frame=frame, opacity=1, blend="even", legend=False)
        for concept, plane in enumerate(video.values[1, :, frame]):
            expected = _blended(image, plane, "viridis", 1, low, high)
            assert torch.allclose(drawn[concept], expected, atol=1e-6)


@pytest.mark.parametrize("width", [1, 2, 10, 11, 12])
def test_an_image_narrower_than_its_letters_has_a_legend_of_its_width(width: int) -> None:
    concepts = (Concept("sky", "sky"), Concept("grass", "grass", "background"))
    heatmaps = Heatmaps(torch.full((1, 2, 1, 1), 0.5), concepts, "share", (40, width))
    image = torch.zeros(40, width, 3)
    plain = overlay_each(image, heatmaps, legend=False)
    for drawn in (overlay_each(image, heatmaps), overlay_segmentation(image, heatmaps)[None]):
        assert drawn.shape[1] > 40 and drawn.shape[2] == width
    drawn = overlay_each(image, heatmaps)
    rows = [top for top in range(drawn.shape[1] - 39) if torch.equal(drawn[:, top : top + 40], plain)]
    assert len(rows) == 1
    assert overlay_grid(image, heatmaps).shape[1] > width
