"""Spaces: their scores against the formula, and a recording of them that fits its run."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from concept_attention.recording.example import example_recording
from concept_attention.vectors import SPACES, JointVectors, KeptVectors, Space, SpaceScores


def vectors(seed: int, concepts: int = 3, tokens: int = 24, heads: int = 2) -> JointVectors:
    noise = torch.Generator().manual_seed(seed)

    def draw(count: int) -> torch.Tensor:
        return torch.randn(1, heads, count, 4, generator=noise)

    image = [draw(tokens) for _ in range(3)]
    concept = [draw(concepts) for _ in range(3)]
    out = torch.randn(1, tokens, 8, generator=noise), torch.randn(1, concepts, 8, generator=noise)
    return JointVectors(*out, *image, *concept, rotate_image=lambda turned: 2 * turned)


def run(scores: SpaceScores | KeptVectors, **options: int) -> None:
    recording = example_recording()
    for step in (0, 1, 2):  # the recording has the first two
        for layer in (0, *recording.layers):
            scores(step, layer, vectors(10 * step + layer, **options))


@pytest.mark.parametrize("name, pair", [("value", ("image_v", "concept_v")), ("cross", ("image_q", "concept_k"))])
def test_scores_are_the_dot_products_of_all_heads(name: str, pair: tuple[str, str]) -> None:
    scores = SpaceScores(SPACES[name])
    run(scores)
    found = scores.recording(example_recording())
    for s, step in enumerate(found.steps):
        for at, layer in enumerate(found.layers):
            seen = vectors(10 * step + layer)
            image, concept = (getattr(seen, field) for field in pair)
            expected = torch.einsum("bhnd,bhcd->bcn", image, concept)
            torch.testing.assert_close(found.scores[s, at], expected)
            torch.testing.assert_close(found.norms[s, at], concept.pow(2).sum((1, 3)).sqrt())


def test_the_output_space_is_that_of_recordings() -> None:
    scores = SpaceScores(SPACES["output"])
    run(scores)
    seen = vectors(13)
    expected = torch.einsum("bnd,bcd->bcn", seen.image_out, seen.concept_out)
    torch.testing.assert_close(scores.recording(example_recording()).scores[1, 1], expected)


def test_queries_may_be_rotated_and_heads_averaged() -> None:
    scores = SpaceScores(Space("rotated_image_q", "concept_k", mean_of_heads=True))
    run(scores)
    seen = vectors(1)
    expected = torch.einsum("bhnd,bhcd->bhcn", 2 * seen.image_q, seen.concept_k).mean(1)
    torch.testing.assert_close(scores.recording(example_recording()).scores[0, 0], expected)


def test_padding_tokens_and_reference_images_are_told_from_the_rest() -> None:
    recording = example_recording()
    pads = torch.zeros(2, 2, 1, 24)
    recording = replace(recording, mode="cogvideox", pad_scores=pads, pad_count=223)
    scores = SpaceScores(SPACES["value"])
    run(scores, concepts=4, tokens=30)
    found = scores.recording(recording)
    seen = vectors(3, concepts=4, tokens=30)
    expected = torch.einsum("bhnd,bhcd->bcn", seen.image_v, seen.concept_v)[..., :24]
    torch.testing.assert_close(found.scores[0, 1], expected[:, :3])
    assert found.pad_scores is not None
    torch.testing.assert_close(found.pad_scores[0, 1], expected[:, 3])


def test_linear_vectors_are_normalised_over_the_concepts() -> None:
    scores = SpaceScores(SPACES["value"], "linear")
    run(scores)
    with pytest.raises(ValueError, match="in a mode of the same vectors"):
        scores.recording(example_recording())
    found = scores.recording(replace(example_recording(), mode="paper"))
    seen = vectors(1)
    concept, image = (one[0].transpose(0, 1).flatten(1) for one in (seen.concept_v, seen.image_v))
    spread = concept - concept.min(dim=0).values
    torch.testing.assert_close(found.scores[0, 0, 0], spread / spread.sum(0) @ image.T)


def test_what_was_not_seen_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"Layer 1 of step 0 was not seen\."):
        SpaceScores(SPACES["value"]).recording(example_recording())
    with pytest.raises(ValueError, match=r"No vectors were kept"):
        KeptVectors(["image_v"]).stack("image_v", [0])


def test_vectors_are_kept_of_the_chosen_layers_and_recorded_steps() -> None:
    keep = KeptVectors(["image_out", "concept_q"], layers=[1, 3], steps=[1, 2])
    run(keep)
    out = keep.stack("image_out", recorded=(0, 1))
    assert out.shape == (1, 2, 1, 24, 8)
    assert torch.equal(out[0, 1], vectors(13).image_out)
    assert torch.equal(keep.stack("concept_q", recorded=(1, 2))[1, 0], vectors(21).concept_q)
