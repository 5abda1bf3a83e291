"""Overlays of heatmaps on their image: one per concept, all side by side, or a segmentation."""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor

from ..choices import BLENDS, Blend, check_choice
from ..errors import UserError
from ..heatmaps.heatmaps import Heatmaps
from ..heatmaps.resize import resize_maps
from ..images import check_aspect, check_image
from .colormaps import colorize, concept_colors
from .legend import Entry, draw_caption, draw_legend, draw_scale
from .lettering import make_label, text_size
from .sheet import arrange, choose_columns, inset

_LARGEST_TILE = 512  # pixels, long side
_LEGEND_TEXT = 0.027  # of the image's width


def overlay_grid(
    image: Tensor,
    heatmaps: Heatmaps,
    index: int = 0,
    *,
    frame: int = 0,
    colormap: str = "viridis",
    opacity: float = 0.7,
    blend: Blend = "by value",
    columns: int | None = None,
    tile_size: int | None = None,
    legend: bool = True,
    device: str | torch.device = "cpu",
) -> Tensor:
    """Draw the image and one labelled tile per concept side by side.

    All tiles share one colour scale, so that they can be compared: 0-1 for shares and stretched maps, the
    lowest to the highest score of any concept in this image, or video, for scores.

    Args:
        image: (H, W, 3) float, 0-1.
        heatmaps: of this image, among others.
        index: which image of the heatmaps' batch.
        frame: which frame of the heatmaps, for a video.
        colormap: see `colorize`.
        opacity: 0 (only the image) to 1 (only the colours).
        blend: `by value` multiplies the opacity by the value, from 0 at the first colour to 1 at the last, so that the
            image shows where the concept is not; `even` covers the whole image alike.
        columns: tiles per row; by default what makes the sheet a well-filled landscape.
        tile_size: long side of a tile in pixels; by default the image's own, at most 512.
        legend: add a line below that shows the colour scale.
        device: where to compute; the result is on the CPU. Another device rounds otherwise: of a value between two
            colours of the map it may take the other one.

    Returns:
        (height, width, 3) float32, 0-1. The size depends on the image's size and on how many concepts there
        are, not on the values, so the grids of a batch stack.

    Raises:
        UserError: a different aspect ratio, an unknown colour map, no such image or frame, or a number out of range.
        ValueError: an image of another shape or dtype.

    >>> from concept_attention import make_heatmaps
    >>> from concept_attention.recording.example import example_recording
    >>> overlay_grid(torch.zeros(64, 96, 3), make_heatmaps(example_recording()), columns=2, legend=False).shape
    torch.Size([182, 219, 3])
    """
    image = check_image(image).to(device)
    check_aspect((image.shape[0], image.shape[1]), heatmaps.image_size)
    tile = _to_tile(image, tile_size)
    height, width = tile.shape[:2]
    maps = resize_maps(select_maps(heatmaps, index, frame).to(device), (height, width), heatmaps.visible)
    low, high = _value_range(heatmaps, index, maps)
    size = text_size(width, height)

    tiles = [torch.cat([draw_caption(make_label("image"), width, size, muted=True), tile.cpu()])]
    for number, (concept, values) in enumerate(zip(heatmaps.concepts, maps, strict=True), start=1):
        drawn = _paint(tile, values, colormap, (low, high), opacity, blend).cpu()
        note = "background" if width >= 14 * size else "bg"
        label = make_label(concept.name, number)
        caption = draw_caption(label, width, size, note if concept.role == "background" else "")
        tiles.append(torch.cat([caption, drawn]))

    margin = round(0.8 * size)
    columns = choose_columns(len(tiles), width, height) if columns is None else columns
    sheet = arrange(tiles, columns, margin)
    if not legend:
        return sheet
    across, fade = sheet.shape[1] - 2 * margin, blend == "by value"
    scale = draw_scale(heatmaps.kind, low, high, colormap, across, size, fade=fade)
    return torch.cat([sheet, inset(scale, margin, below=margin)])


def overlay_each(
    image: Tensor,
    heatmaps: Heatmaps,
    index: int = 0,
    *,
    frame: int = 0,
    colormap: str = "viridis",
    opacity: float = 0.7,
    blend: Blend = "by value",
    legend: bool = True,
    device: str | torch.device = "cpu",
) -> Tensor:
    """Draw one overlay of the image per concept, on one colour scale as `overlay_grid` does.

    Args:
        image: (H, W, 3) float, 0-1.
        heatmaps: of this image, among others.
        index: which image of the heatmaps' batch.
        frame: which frame of the heatmaps, for a video.
        colormap: see `colorize`.
        opacity: 0 (only the image) to 1 (only the colours).
        blend: see `overlay_grid`.
        legend: add a line above with the concept's name and one below that shows the colour scale.
        device: see `overlay_grid`.

    Returns:
        (C, height, width, 3) float32, 0-1, at the image's size; taller with a legend, the same for all.

    Raises:
        UserError, ValueError: as `overlay_grid`.

    >>> from concept_attention import make_heatmaps
    >>> from concept_attention.recording.example import example_recording
    >>> overlay_each(torch.zeros(64, 96, 3), make_heatmaps(example_recording()), legend=False).shape
    torch.Size([3, 64, 96, 3])
    """
    image = check_image(image).to(device)
    height, width = image.shape[:2]
    check_aspect((height, width), heatmaps.image_size)
    maps = resize_maps(select_maps(heatmaps, index, frame).to(device), (height, width), heatmaps.visible)
    low, high = _value_range(heatmaps, index, maps)
    drawn = [_paint(image, values, colormap, (low, high), opacity, blend).cpu() for values in maps]
    if legend:
        size = text_size(width, height, _LEGEND_TEXT)
        margin = min(round(0.5 * size), (width - 1) // 2)
        fade = blend == "by value"
        scale = draw_scale(heatmaps.kind, low, high, colormap, width - 2 * margin, size, fade=fade)
        scale = inset(scale, margin, margin, margin)
        for position, concept in enumerate(heatmaps.concepts):
            note = "background" if concept.role == "background" else ""
            caption = draw_caption(make_label(concept.name, position + 1), width - 2 * margin, size, note)
            drawn[position] = torch.cat([inset(caption, margin, margin, margin), drawn[position], scale])
    return torch.stack(drawn)


def overlay_segmentation(
    image: Tensor,
    heatmaps: Heatmaps,
    index: int = 0,
    opacity: float = 0.6,
    legend: bool = True,
    *,
    frame: int = 0,
    device: str | torch.device = "cpu",
) -> Tensor:
    """Paint every pixel in the colour of the concept that wins it, background concepts included.

    Args:
        image: (H, W, 3) float, 0-1.
        heatmaps: of this image, among others; resized to the image before the highest is taken.
        index: which image of the heatmaps' batch.
        opacity: 0 (only the image) to 1 (only the colours).
        legend: add a white strip below the image with every concept's colour, name and the part of the
            image's pixels it wins; background concepts stand under a heading of their own.
        frame: which frame of the heatmaps, for a video.
        device: where to compute; the result is on the CPU.

    Returns:
        image * (1 - opacity) + colour * opacity, (H, W, 3) float32, 0-1; taller with a legend.
        The height depends on the names, not on the values, so the overlays of a batch stack.

    Raises:
        UserError, ValueError: as `overlay_grid`.

    Convention: concept i has colour `concept_colors(n)[i]`; if concepts are level, the first of them wins.

    >>> from concept_attention import make_heatmaps
    >>> from concept_attention.recording.example import example_recording
    >>> drawn = overlay_segmentation(torch.zeros(4, 6, 3), make_heatmaps(example_recording()), 0, 1.0, legend=False)
    >>> (255 * drawn[0, 0]).round().int().tolist()  # the first concept's colour
    [230, 159, 0]
    """
    image = check_image(image).to(device)
    height, width = image.shape[:2]
    check_aspect((height, width), heatmaps.image_size)
    maps = select_maps(heatmaps, index, frame).to(device)
    winner = resize_maps(maps, (height, width), heatmaps.visible).argmax(dim=0)
    colours = concept_colors(len(heatmaps.concepts))
    painted = _blend(image, colours.to(device)[winner], opacity).cpu()
    if not legend:
        return painted
    counts = torch.bincount(winner.flatten().cpu(), minlength=len(heatmaps.concepts)).tolist()
    entries: dict[str, list[Entry]] = {"concept": [], "background": []}
    for position, concept in enumerate(heatmaps.concepts):
        red, green, blue = (colours[position] * 255).round().int().tolist()
        area = _percent(counts[position], height * width)
        entries[concept.role].append(Entry(make_label(concept.name, position + 1), (red, green, blue), area))
    groups = [("", entries["concept"]), ("background", entries["background"])]
    return torch.cat([painted, draw_legend(groups, width, text_size(width, height, _LEGEND_TEXT))])


def _paint(
    image: Tensor, values: Tensor, colormap: str, extent: tuple[float, float], opacity: float, blend: str
) -> Tensor:
    """A map over its image, see `overlay_grid`; `extent` are the values of the first and the last colour."""
    check_choice("Blend", blend, BLENDS)
    low, high = extent
    colours = colorize(values, colormap, low, high)
    if blend == "even":
        return _blend(image, colours, opacity)
    height = (values - low) / (high - low) if high > low else torch.zeros_like(values)
    return _blend(image, colours, opacity, height.clamp(0, 1)[..., None])


def _blend(image: Tensor, colours: Tensor, opacity: float, weight: Tensor | None = None) -> Tensor:
    """The image under the colours, which are used up: of a large image, every copy counts.

    Args:
        weight: (H, W, 1) 0-1, what the opacity is multiplied by; None is 1.
    """
    if not 0 <= opacity <= 1:
        raise UserError(f"Opacity is 0 (only the image) to 1 (only the colours), got {opacity:g}.")
    alpha = opacity if weight is None else weight.mul_(opacity)
    return colours.mul_(alpha).add_(image * (1 - alpha))


def _value_range(heatmaps: Heatmaps, index: int, maps: Tensor) -> tuple[float, float]:
    """Values drawn in the first and the last colour, the same in all frames of a video."""
    if heatmaps.kind != "score":
        return 0.0, 1.0
    shown = heatmaps.values[index] if heatmaps.video else maps
    return float(shown.min()), float(shown.max())


def select_maps(heatmaps: Heatmaps, index: int, frame: int) -> Tensor:
    """(C, h, w) maps of one image, or of one frame of one video; a UserError says what there is."""
    maps = _select("image", heatmaps.values, index)
    if heatmaps.video:
        return _select("frame", rearrange(maps, "c t h w -> t c h w"), frame)
    if frame:
        raise UserError(f"Frame {frame} does not exist: an image has only frame 0.")
    return maps


def _select(what: str, values: Tensor, index: int) -> Tensor:
    count = values.shape[0]
    if not 0 <= index < count:
        raise UserError(
            f"{what.capitalize()} {index} does not exist: these heatmaps have {count} (0-{count - 1}). "
            f"Choose another {what}."
        )
    return values[index]


def _to_tile(image: Tensor, tile_size: int | None) -> Tensor:
    """The image at the size of a tile."""
    if tile_size is not None and tile_size < 1:
        raise UserError(f"A tile is at least 1 pixel, got {tile_size}.")
    height, width = image.shape[:2]
    long_side = min(max(height, width), _LARGEST_TILE) if tile_size is None else tile_size
    ratio = long_side / max(height, width)
    size = (max(1, round(height * ratio)), max(1, round(width * ratio)))
    return rearrange(resize_maps(rearrange(image, "h w c -> c h w"), size), "c h w -> h w c")


def _percent(count: int, total: int) -> str:
    if 0 < count < 0.005 * total:
        return "<1 %"
    return f"{100 * count / total:.0f} %"
