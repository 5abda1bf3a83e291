"""Overlays and figures as IMAGE batches."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch

from .conftest import Pack
from .test_masks import video_heatmaps


def test_a_grid_is_drawn_for_every_picture(pack: Pack, heatmaps: Any, pictures: torch.Tensor) -> None:
    image = pack.run("ConceptHeatmapOverlay", image=pictures, heatmaps=heatmaps)[0]
    expected = pack.module("concept_attention.drawing.overlay").overlay_grid(pictures[1], heatmaps, 1)
    assert image.ndim == 4 and len(image) == 2 and torch.equal(image[1], expected)


def test_one_per_concept_gives_every_concept_of_every_picture(
    pack: Pack, heatmaps: Any, pictures: torch.Tensor
) -> None:
    options = {"layout": "one per concept", "colormap": "magma", "opacity": 0.4, "legend": False}
    image = pack.run("ConceptHeatmapOverlay", image=pictures, heatmaps=heatmaps, **options)[0]
    assert image.shape == (8, 64, 96, 3)
    draw = pack.module("concept_attention.drawing.overlay").overlay_each
    assert torch.equal(image[5], draw(pictures[1], heatmaps, 1, colormap="magma", opacity=0.4, legend=False)[1])


def test_a_segmentation_has_its_own_colours(pack: Pack, heatmaps: Any, pictures: torch.Tensor) -> None:
    one, other = (
        pack.run("ConceptHeatmapOverlay", image=pictures, heatmaps=heatmaps, layout="segmentation", colormap=name)[0]
        for name in ("viridis", "turbo")
    )
    assert torch.equal(one, other) and len(one) == 2 and one.shape[2] == 96 and one.shape[1] > 64


@pytest.mark.parametrize("layout", ["one per concept", "grid", "segmentation"])
@pytest.mark.parametrize("legend", [True, False])
def test_a_batch_has_one_size_whatever_it_shows(pack: Pack, heatmaps: Any, layout: str, legend: bool) -> None:
    other_resolution = torch.rand(2, 96, 144, 4)
    options = {"layout": layout, "legend": legend}
    image = pack.run("ConceptHeatmapOverlay", image=other_resolution, heatmaps=heatmaps, **options)[0]
    assert image.dtype == torch.float32 and image.shape[-1] == 3 and len(image) == (8 if layout[0] == "o" else 2)


def test_frames_of_videos_are_drawn_on_their_own_pictures(pack: Pack) -> None:
    video, frames = video_heatmaps(pack), torch.rand(6, 64, 96, 3)
    image = pack.run("ConceptHeatmapOverlay", image=frames, heatmaps=video, layout="segmentation", legend=False)[0]
    draw = pack.module("concept_attention.drawing.overlay").overlay_segmentation
    assert torch.equal(image[4], draw(frames[4], video, 1, 0.7, False, frame=1))


def test_all_frames_of_a_video_are_drawn(pack: Pack) -> None:
    video, frames = dataclasses.replace(video_heatmaps(pack), frame_counts=(1, 4, 4)), torch.rand(18, 64, 96, 3)
    options: dict[str, Any] = {"image": frames, "heatmaps": video, "legend": False}
    image = pack.run("ConceptHeatmapOverlay", layout="segmentation", **options)[0]
    draw = pack.module("concept_attention.drawing.overlay")
    assert len(image) == 18
    for index, latent in ((0, 0), (4, 1), (5, 2), (8, 2)):
        expected = draw.overlay_segmentation(frames[9 + index], video, 1, 0.7, False, frame=latent)
        assert torch.equal(image[9 + index], expected)
    each = pack.run("ConceptHeatmapOverlay", layout="one per concept", **options)[0]
    assert len(each) == 36  # video by video, concept by concept, frame by frame
    expected = draw.overlay_each(frames[9 + 5], video, 1, frame=2, legend=False)
    assert torch.equal(each[18 + 5], expected[0]) and torch.equal(each[18 + 9 + 5], expected[1])
    latent_frames = pack.run("ConceptHeatmapOverlay", **{**options, "image": frames[:6]})[0]
    assert len(latent_frames) == 6


def test_pictures_that_do_not_fit_are_refused(pack: Pack, heatmaps: Any) -> None:
    with pytest.raises(ValueError, match=r"Got 1 image\(s\), but heatmaps of 2 image\(s\)\. Connect the IMAGE"):
        pack.run("ConceptHeatmapOverlay", image=torch.rand(1, 64, 96, 3), heatmaps=heatmaps)
    with pytest.raises(ValueError, match="64 x 96 .width x height. but the heatmaps are 96 x 64, a different"):
        pack.run("ConceptHeatmapOverlay", image=torch.rand(2, 96, 64, 3), heatmaps=heatmaps)
    with pytest.raises(ValueError, match=r"Got 2 image\(s\), but heatmaps of 2 x 3 frames"):
        pack.run("ConceptHeatmapOverlay", image=torch.rand(2, 64, 96, 3), heatmaps=video_heatmaps(pack))
    with pytest.raises(ValueError, match="Unknown colour map 'jets'"):
        pack.run("ConceptHeatmapOverlay", image=torch.rand(2, 64, 96, 3), heatmaps=heatmaps, colormap="jets")


def test_a_figure_is_drawn_for_every_picture(pack: Pack, recording: Any) -> None:
    image = pack.run("ConceptHeatmapPlot", recording=recording, concept="Sun", colormap="cividis")[0]
    draw = pack.module("concept_attention.drawing.figures").layer_step_figure
    assert len(image) == 2 and torch.equal(image[1], draw(recording, "sun", 1, colormap="cividis"))
    first = pack.run("ConceptHeatmapPlot", recording=recording, mode="sd3", temperature=0.5)[0]
    assert torch.equal(first[0], draw(recording, "house", 0, mode="sd3", temperature=0.5))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"concept": "boat"}, 'There is no concept "boat". Choose one of: house, sun, sky, grass.'),
        ({"concept": "house, sun"}, "This node draws one concept, got house, sun."),
        ({"frame": 1}, "Frame 1 does not exist: an image has only frame 0."),
    ],
)
def test_a_figure_of_what_is_not_there_is_refused(
    pack: Pack, recording: Any, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValueError) as caught:
        pack.run("ConceptHeatmapPlot", recording=recording, **options)
    assert words in str(caught.value)
