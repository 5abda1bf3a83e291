"""The layer x step figure, against tiles coloured one by one, and what drawing leaves behind."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import matplotlib
import pytest
import torch

from concept_attention.concepts import Concept
from concept_attention.drawing.colormaps import colorize
from concept_attention.drawing.figures import layer_step_figure
from concept_attention.recording.recording import Recording

ROOT = Path(__file__).resolve().parents[2]
NAMES = ["tree", "$5 bill_$", "山水", "a very long name " * 9]


def _recording(steps: int, layers: list[int], grid=(1, 2, 3), batch: int = 2, names=NAMES) -> Recording:
    tokens = grid[0] * grid[1] * grid[2]
    shape = (steps, len(layers), batch, len(names), tokens)
    return Recording(
        scores=torch.randn(shape, generator=torch.Generator().manual_seed(0)) * 2,
        norms=torch.ones(shape[:-1]),
        layers=tuple(layers),
        layer_count=max(layers) + 1,
        default_layers=(layers[-1],),
        steps=tuple(range(steps)),
        sigmas=tuple(1 - step / steps for step in range(steps)),
        grid=grid,
        image_size=(grid[1] * 16, grid[2] * 16),
        architecture="flux",
        mode="flux",
        concepts=tuple(Concept(name.strip(), name.strip()) for name in names),
    )


def _tiles(figure: torch.Tensor, width: int, height: int) -> list[list[torch.Tensor]]:
    """Tiles of this size, found by the white lines between them, in a figure laid out as documented."""
    white = (figure == 1).all(dim=-1)
    tiles = []
    for top in range(88, figure.shape[0] - height + 1, height + 6):
        row = []
        for left in range(76, figure.shape[1] - 64 - width + 1, width + 6):
            if not white[top : top + height, left : left + width].any():
                row.append(figure[top : top + height, left : left + width])
        tiles.append(row)
    return tiles


@pytest.mark.parametrize("picture", [0, 1])
def test_every_tile_shows_the_share_of_its_layer_and_step(picture: int) -> None:
    recording = _recording(3, [2, 5])
    figure = layer_step_figure(recording, "$5 bill_$", picture)
    assert figure.dtype == torch.float32 and figure.min() >= 0 and figure.max() == 1
    tiles = _tiles(figure, 220, 147)
    assert [len(row) for row in tiles] == [3, 3]
    for layer in range(2):
        for step in range(3):
            share = recording.scores[step, layer, picture].softmax(dim=0)[1].reshape(2, 3)
            expected = colorize(share)
            for y in range(2):
                for x in range(3):
                    pixel = tiles[layer][step][36 + 73 * y, 36 + 73 * x]
                    assert (pixel - expected[y, x]).abs().max() < 2.5 / 255


def test_more_than_eight_are_thinned_out_with_both_ends_kept() -> None:
    recording = _recording(28, list(range(19)), grid=(1, 1, 1), batch=1, names=["a", "b"])
    tiles = _tiles(layer_step_figure(recording, "a"), 125, 125)
    assert [len(row) for row in tiles] == [8] * 8
    for layer, row in ((0, tiles[0]), (18, tiles[-1])):
        for step, tile in ((0, row[0]), (27, row[-1])):
            expected = colorize(recording.scores[step, layer, 0].softmax(dim=0)[:1])[0, 0]
            assert (tile[60, 60] - expected).abs().max() < 2.5 / 255


@pytest.mark.parametrize("name", [name.strip() for name in NAMES])
def test_any_name_is_a_title_without_warnings(name: str, recwarn) -> None:
    assert layer_step_figure(_recording(1, [0]), name).shape[1] >= 420
    assert not recwarn.list


@pytest.mark.parametrize("grid", [(1, 16, 1), (1, 1, 16), (1, 1, 60), (1, 60, 1)])
def test_extreme_shapes_are_drawn(grid: tuple[int, int, int]) -> None:
    assert layer_step_figure(_recording(2, [0, 1], grid), "tree").ndim == 3


def test_a_frame_of_a_video_is_chosen() -> None:
    video = _recording(1, [0], (2, 2, 2))
    first, second = (layer_step_figure(video, "tree", frame=frame) for frame in range(2))
    assert not torch.equal(first, second)
    share = video.scores[0, 0, 0].softmax(dim=0)[0].reshape(2, 2, 2)[1, 0, 0]
    assert (second[88 + 50, 76 + 50] - colorize(share.reshape(1, 1))[0, 0]).abs().max() < 2.5 / 255


@pytest.mark.parametrize(
    ("concept", "options", "message"),
    [
        ("moon", {}, "moon.*tree"),
        ("tree", {"picture": 2}, "Picture 2"),
        ("tree", {"colormap": "none such"}, "none such"),
        ("tree", {"temperature": 0}, "0"),
    ],
)
def test_what_cannot_be_drawn_is_refused(concept: str, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        layer_step_figure(_recording(1, [0]), concept, **options)


def test_a_users_style_does_not_change_the_figure_and_nothing_is_left_behind() -> None:
    recording = _recording(2, [0, 1])
    plain = layer_step_figure(recording, "tree")
    odd = {"axes.facecolor": "red", "text.color": "white", "figure.facecolor": "black", "font.size": 30.0}
    with matplotlib.rc_context({**odd, "image.origin": "lower", "image.cmap": "gray", "savefig.dpi": 300}):
        before = dict(matplotlib.rcParams)
        styled = layer_step_figure(recording, "tree")
        assert dict(matplotlib.rcParams) == before
    assert torch.equal(plain, styled)


def test_matplotlib_is_imported_by_drawing_only() -> None:
    program = """
import sys
import torch
from concept_attention import colormaps, figures, heatmaps, images, legend, lettering, overlay
assert "matplotlib" not in sys.modules, "importing"
from concept_attention.concepts import Concept
maps = heatmaps.Heatmaps(torch.rand(1, 2, 2, 2), (Concept("a", "a"), Concept("b", "b")), "share", (32, 32))
overlay.overlay_segmentation(torch.zeros(32, 32, 3), maps, legend=False)
images.to_pil(colormaps.concept_colors(12)[None])
assert "matplotlib" not in sys.modules, "painting without text or colour map"
overlay.overlay_concept(torch.zeros(32, 32, 3), maps.values[0, 0])
assert "matplotlib" in sys.modules, "drawing"
assert "matplotlib.pyplot" not in sys.modules, "pyplot"
"""
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr


def test_figures_are_drawn_without_pyplot() -> None:
    program = """
import sys
import torch
from concept_attention.concepts import Concept
from concept_attention.drawing.figures import layer_step_figure
from concept_attention.recording.recording import Recording
scores, norms = torch.zeros(1, 1, 1, 2, 1), torch.ones(1, 1, 1, 2)
concepts = (Concept("a", "a"), Concept("b", "b"))
one = (0,)
recording = Recording(scores, norms, one, 1, one, one, (1.0,), (1, 1, 1), (16, 16), "flux", "flux", concepts)
layer_step_figure(recording, "a")
assert "matplotlib" in sys.modules and "matplotlib.pyplot" not in sys.modules
"""
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
