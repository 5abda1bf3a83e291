"""ConceptHeatmapToMask: masks at any size, and along the edges of a guide image."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import comfy.utils
import pytest
import torch

from .conftest import Pack


def video_heatmaps(pack: Pack) -> Any:
    """Two videos of 3 frames, 4 x 6 tokens, 64 x 96 pixels."""
    library = pack.module("concept_attention.heatmaps.heatmaps")
    concept = pack.module("concept_attention.concepts").Concept
    shares = torch.rand(2, 2, 3, 4, 6, generator=torch.Generator().manual_seed(0)).softmax(dim=1)
    return library.Heatmaps(shares, (concept("a", "a"), concept("b", "b")), "share", (64, 96))


def test_a_mask_has_the_picture_s_size_and_one_entry_per_picture(pack: Pack, heatmaps: Any) -> None:
    output = pack.run("ConceptHeatmapToMask", heatmaps=heatmaps, concepts="sun", method="argmax")
    mask = output[0]
    expected = pack.module("concept_attention.heatmaps.masks").make_masks(heatmaps, "sun", "argmax")
    assert mask.shape == (2, 64, 96) and torch.equal(mask, expected)
    areas = ", ".join(f"{float(one.mean()):.1%}" for one in mask)
    assert pack.text(output) == f"sun: {areas} of the images"


def test_without_a_name_the_first_concept_is_masked(pack: Pack, heatmaps: Any) -> None:
    first = pack.run("ConceptHeatmapToMask", heatmaps=heatmaps)
    assert torch.equal(first[0], pack.run("ConceptHeatmapToMask", heatmaps=heatmaps, concepts="house")[0])
    assert pack.text(first).startswith("house: ")


@pytest.mark.parametrize("names", ["sky, house", "house\nSKY", "house: a big one, sky"])
def test_several_concepts_make_one_mask(pack: Pack, heatmaps: Any, names: str) -> None:
    output = pack.run("ConceptHeatmapToMask", heatmaps=heatmaps, concepts=names)
    expected = heatmaps.resized().values[:, [0, 2]].sum(dim=1)
    assert torch.allclose(output[0], expected, atol=1e-6)
    assert pack.text(output).split(":")[0] in ("sky + house", "house + sky")


def test_numbers_reach_the_library(pack: Pack, heatmaps: Any) -> None:
    library = pack.module("concept_attention.heatmaps.masks")
    made = pack.run("ConceptHeatmapToMask", heatmaps=heatmaps, concepts="sky", method="threshold", threshold=0.8)[0]
    assert torch.equal(made, library.make_masks(heatmaps, "sky", "threshold", threshold=0.8))
    made = pack.run(
        "ConceptHeatmapToMask", heatmaps=heatmaps, concepts="sky", method="percentile", percentile=70.0, blur=2.0
    )[0]
    assert torch.equal(made, library.make_masks(heatmaps, "sky", "percentile", percentile=70.0, blur=2.0))


@pytest.mark.parametrize(
    ("width", "height", "size"), [(48, 32, (32, 48)), (48, 0, (32, 48)), (0, 128, (128, 192)), (100, 10, (10, 100))]
)
def test_a_size_can_be_asked_for(pack: Pack, heatmaps: Any, width: int, height: int, size: tuple[int, int]) -> None:
    mask = pack.run("ConceptHeatmapToMask", heatmaps=heatmaps, width=width, height=height)[0]
    assert mask.shape == (2, *size)


def test_a_guide_sharpens_the_mask(pack: Pack, heatmaps: Any, pictures: torch.Tensor) -> None:
    plain = pack.run("ConceptHeatmapToMask", heatmaps=heatmaps, concepts="sky")[0]
    guided = pack.run("ConceptHeatmapToMask", heatmaps=heatmaps, concepts="sky", guide=pictures)[0]
    library = pack.module("concept_attention.heatmaps.guided")
    expected = library.sharpen_heatmaps(heatmaps, pictures, concepts="sky").values[:, 0]
    assert torch.equal(guided, expected) and not torch.equal(guided, plain)
    far = pack.run("ConceptHeatmapToMask", heatmaps=heatmaps, concepts="sky", guide=pictures, guide_radius=40)[0]
    faint = pack.run("ConceptHeatmapToMask", heatmaps=heatmaps, concepts="sky", guide=pictures, guide_epsilon=1.0)[0]
    assert not torch.equal(far, guided) and not torch.equal(faint, guided)


def test_what_is_subtracted_is_refined_too(pack: Pack, heatmaps: Any, pictures: torch.Tensor) -> None:
    options = {"heatmaps": heatmaps, "concepts": "sky", "method": "mean", "guide": pictures}
    whole, house = (pack.run("ConceptHeatmapToMask", **{**options, "concepts": name})[0] for name in ("sky", "house"))
    less = pack.run("ConceptHeatmapToMask", **options, subtract="house")[0]
    assert torch.allclose(less, whole * (1 - house)) and not torch.equal(less, whole)


def test_a_guide_may_have_transparency_another_size_and_serve_all(pack: Pack, heatmaps: Any) -> None:
    guide = torch.rand(1, 128, 192, 4)
    assert pack.run("ConceptHeatmapToMask", heatmaps=heatmaps, guide=guide, width=48)[0].shape == (2, 32, 48)


def test_frames_of_videos_follow_one_another(pack: Pack) -> None:
    video = video_heatmaps(pack)
    mask = pack.run("ConceptHeatmapToMask", heatmaps=video, concepts="b")[0]
    assert mask.shape == (6, 64, 96)
    assert torch.allclose(mask[4], video.resized().values[1, 1, 1], atol=1e-6)
    guided = pack.run("ConceptHeatmapToMask", heatmaps=video, concepts="b", guide=torch.rand(6, 64, 96, 3))[0]
    assert guided.shape == (6, 64, 96)


def test_every_frame_of_a_video_has_a_mask_and_latents_can_have_theirs(pack: Pack) -> None:
    """As a batch that core's nodes for videos take: picture frames, video by video."""
    video = dataclasses.replace(video_heatmaps(pack), frame_counts=(1, 4, 4))
    mask = pack.run("ConceptHeatmapToMask", heatmaps=video, concepts="b")[0]
    latent = pack.run("ConceptHeatmapToMask", heatmaps=video, concepts="b", frames="latent")[0]
    assert mask.shape == (18, 64, 96) and latent.shape == (6, 64, 96)
    for frame in range(18):
        which, place = divmod(frame, 9)
        assert torch.equal(mask[frame], latent[3 * which + math.ceil(place / 4)])
    guided = pack.run("ConceptHeatmapToMask", heatmaps=video, concepts="b", guide=torch.rand(18, 64, 96, 3))[0]
    assert guided.shape == (18, 64, 96)
    few = torch.rand(18, 64, 96, 3)
    sharp = pack.run("ConceptHeatmapToMask", heatmaps=video, concepts="b", guide=few, frames="latent")[0]
    chosen = few[[0, 3, 7, 9, 12, 16]]  # the middle of 0, 1-4 and 5-8 in each video
    sharpen = pack.module("concept_attention.heatmaps.guided").sharpen_heatmaps
    expected = sharpen(video, chosen, concepts="b").values[:, 0]
    assert torch.equal(sharp, expected.flatten(0, 1))
    noise_mask = comfy.utils.reshape_mask(latent[:3], (1, 16, 3, 8, 12))  # as sampling takes it
    assert noise_mask.shape == (1, 16, 3, 8, 12) or noise_mask.shape == (1, 1, 3, 8, 12)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"concepts": "mountain"}, 'There is no concept "mountain". Choose one of: house, sun, sky, grass.'),
        ({"concepts": "house, house"}, "Use every name once."),
        ({"concepts": "house,,sun"}, "has an empty concept"),
        ({"method": "best"}, "Mask method 'best' does not exist."),
        ({"threshold": 1.5}, "A threshold is a share, 0 to 1; got 1.5."),
        ({"percentile": 101.0}, "A percentile lies in 0 to 100, got 101.0."),
        ({"blur": -1.0}, "Blur is a standard deviation in pixels, 0 or more; got -1.0."),
        (
            {"guide": torch.rand(3, 64, 96, 3)},
            "Heatmaps of 2 images need a guide of as many images, or of one, got 3",
        ),
        ({"guide": torch.rand(2, 64, 64, 3)}, "The image is 64 x 64 (width x height) but the heatmaps are 96 x 64"),
        ({"guide": torch.rand(64, 96, 3)}, "has the shape (batch, height, width, 3 colours), got (64, 96, 3)."),
    ],
)
def test_bad_input_is_refused(pack: Pack, heatmaps: Any, options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError) as caught:
        pack.run("ConceptHeatmapToMask", heatmaps=heatmaps, **options)
    assert words in str(caught.value)


def test_stretched_heatmaps_make_no_soft_mask(pack: Pack, recording: Any) -> None:
    stretched = pack.run("ConceptHeatmaps", recording=recording, kind="stretched")[0]
    with pytest.raises(ValueError, match="Mask method soft needs heatmaps of kind share, got kind stretched."):
        pack.run("ConceptHeatmapToMask", heatmaps=stretched)
    assert pack.run("ConceptHeatmapToMask", heatmaps=stretched, method="otsu")[0].shape == (2, 64, 96)
