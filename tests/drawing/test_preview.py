"""Images of single steps: every token has the colour that its share has."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from concept_attention.concepts import Concept
from concept_attention.drawing.colormaps import colorize, concept_colors
from concept_attention.drawing.preview import OPACITY, SIZE, StepPainter, check_preview, paint_mask, shrink
from concept_attention.errors import UserError
from concept_attention.heatmaps.heatmaps import make_heatmaps
from concept_attention.recording.recording import Recording
from concept_attention.recording.shares import share_rule

from ..support.recordings import MODE_NAMES, make_recording

GRID = (3, 5)


def scores_of(recording: Recording, step: int = 1, layers: slice = slice(None), image: int = 0) -> tuple:
    tensors = (recording.scores, recording.norms, recording.pad_scores)
    return tuple(tensor[step, layers, image] for tensor in tensors if tensor is not None)


def painter(recording: Recording, wanted: str) -> StepPainter:
    return StepPainter(recording.concepts, wanted, share_rule(recording))


def black(size: tuple[int, int] = GRID) -> Image.Image:
    """One pixel per token, so that nothing is interpolated."""
    return Image.new("RGB", size[::-1])


def pixels(image: Image.Image) -> np.ndarray:
    return np.asarray(image).astype(int)


def blended(colours: torch.Tensor, under: np.ndarray | int = 0) -> np.ndarray:
    return np.asarray(under * (1 - OPACITY) + (colours * 255).round().numpy() * OPACITY)


@pytest.mark.parametrize("mode", MODE_NAMES)
def test_a_concept_has_the_colours_of_its_heatmap(mode: str) -> None:
    recording = make_recording(mode)
    shares = make_heatmaps(recording, layers="5,7", steps="1").values[0]
    scores = tuple(part[[1, 3]] for part in scores_of(recording))
    for index, name in enumerate(("sky", "house", "tree")):
        got = pixels(painter(recording, name).paint(scores, GRID, under=black()))
        assert np.abs(got - blended(colorize(shares[index]))).max() <= 2
    assert np.ptp(got) > 20


def test_a_segmentation_has_the_colours_of_the_winners() -> None:
    recording = make_recording()
    winner = make_heatmaps(recording, layers="all", steps="1").values[0].argmax(dim=0)
    under = np.random.default_rng(0).integers(0, 255, (*GRID, 3), dtype=np.uint8)
    got = painter(recording, "segmentation").paint(scores_of(recording), GRID, under=Image.fromarray(under))
    assert np.abs(pixels(got) - blended(concept_colors(3)[winner], under)).max() <= 1
    assert len(winner.unique()) == 3


def test_alone_it_has_the_tokens_aspect_and_full_colours() -> None:
    recording = make_recording()
    alone = painter(recording, "segmentation").paint(scores_of(recording), GRID)
    assert alone.size == (SIZE, round(SIZE * 3 / 5)) and alone.mode == "RGB"
    colours = {tuple(colour) for colour in pixels(alone).reshape(-1, 3)}
    assert colours <= {tuple(colour) for colour in (concept_colors(3) * 255).round().int().tolist()}
    tall = painter(make_recording(grid=(1, 8, 2)), "sky").paint(scores_of(make_recording(grid=(1, 8, 2))), (8, 2))
    assert tall.size == (SIZE // 4, SIZE)


def test_tokens_beyond_the_image_are_left_out() -> None:
    recording = make_recording()
    whole = painter(recording, "sky").paint(scores_of(recording), GRID, under=black())
    part = painter(recording, "sky").paint(scores_of(recording), GRID, (2 / 3, 4 / 5), black((2, 4)))
    assert np.array_equal(pixels(part), pixels(whole)[:2, :4])
    assert painter(recording, "sky").paint(scores_of(recording), GRID, (1 / 3, 1.0)).size == (SIZE, round(SIZE / 5))


@pytest.mark.parametrize("mode", ["flux", "cogvideox"])
def test_of_a_video_the_first_frame_is_drawn(mode: str) -> None:
    recording = make_recording(mode, grid=(2, 3, 5))
    shares = make_heatmaps(recording, layers="all", steps="1").values[0, 1, 0]
    got = pixels(painter(recording, "house").paint(scores_of(recording), GRID, under=black()))
    assert np.abs(got - blended(colorize(shares))).max() <= 2


def test_an_image_is_darker_outside_of_a_mask() -> None:
    mask = torch.tensor([[0.0, 1.0, 0.5], [1.0, 0.0, 0.25]])
    under = np.random.default_rng(1).integers(0, 255, (2, 3, 3), dtype=np.uint8)
    got = pixels(paint_mask(mask, Image.fromarray(under)))
    assert np.abs(got - under * (1 - OPACITY * (1 - mask.numpy()[..., None]))).max() <= 2
    alone = paint_mask(mask)
    assert alone.size == (SIZE, round(SIZE * 2 / 3)) and alone.mode == "RGB"
    assert pixels(alone)[0, 0].tolist() == [0, 0, 0] and pixels(alone)[-1, 0].tolist() == [255, 255, 255]


def test_there_may_be_more_concepts_than_tokens() -> None:
    recording = make_recording("sd3", grid=(1, 1, 2))
    shares = make_heatmaps(recording, layers="all", steps="1").values[0, 2]
    got = pixels(painter(recording, "tree").paint(scores_of(recording), (1, 2), under=black((1, 2))))
    assert np.abs(got - blended(colorize(shares))).max() <= 2


def test_a_share_of_one_has_the_last_colour() -> None:
    recording = make_recording(concepts=1)
    got = pixels(painter(recording, "sky").paint(scores_of(recording), GRID, under=black()))
    assert np.abs(got - blended(colorize(torch.ones(3, 5)))).max() <= 1


def test_a_large_image_is_made_small_and_a_small_one_is_not_touched() -> None:
    assert shrink(Image.new("RGB", (1024, 512)), 512).size == (512, 256)
    assert shrink(Image.new("RGB", (1030, 512)), 512).size == (344, 171)
    small = Image.fromarray(np.arange(30, dtype=np.uint8).reshape(2, 5, 3))
    assert np.array_equal(pixels(shrink(small, 5)), pixels(small))
    assert shrink(Image.new("RGBA", (4096, 2)), None).size == (4096, 2)
    assert shrink(Image.new("L", (4, 4)), 8).mode == "RGB"


def test_only_concepts_the_segmentation_and_regions_can_be_shown() -> None:
    concepts = (Concept("House", "House"), Concept("sky", "sky"))
    for wanted in ("house", "SKY", "segmentation", "regions"):
        check_preview(wanted, concepts)
    with pytest.raises(UserError, match='cannot show "moon". Write one of House, sky, segmentation or regions;'):
        check_preview("moon", concepts)
    with pytest.raises(UserError, match="cannot show"):
        StepPainter(concepts, "moon", share_rule(make_recording()))
