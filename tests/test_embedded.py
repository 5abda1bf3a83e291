"""The embedded models: what they were trained on, and what is said of maps beyond that."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from PIL import Image

from concept_attention.concepts import parse_concepts
from concept_attention.embedded import EMBEDDED, NOISIEST, SIZES, outside


@pytest.mark.parametrize("model", EMBEDDED)
def test_nothing_is_said_of_what_a_model_was_trained_on(model: str) -> None:
    frames = 9 if model == "tiny-cogvideox" else 1
    assert not any(outside(model, *size, frames, NOISIEST[model]) for size in SIZES[model])


@pytest.mark.parametrize(
    ("model", "given", "said"),
    [
        ("tiny", (128, 128), ["at 128 x 128 pixels: it was trained on 256 x 256, 384 x 256, 256 x 384."]),
        ("tiny-sd3", (256, 128, 1, 0.3), ["at 256 x 128 pixels: it was trained on 128 x 128."]),
        ("tiny", (256, 256, 1, 0.9), ["at noise 0.9: its maps are right up to about 0.7."]),
        ("tiny-cogvideox", (128, 128, 1), ["at 1 frame: it was trained on 9."]),
        ("tiny-cogvideox", (64, 64, 5, 0.3), ["at 64 x 64 pixels: ", "at 5 frames: it was trained on 9."]),
    ],
)
def test_what_is_beyond_is_named(model: str, given: Any, said: list[str]) -> None:
    *lines, last = outside(model, *given).splitlines()
    assert last == "Its maps may be far less accurate there." and len(lines) == len(said)
    for line, part in zip(lines, said, strict=True):
        assert line.startswith("The landscape model at ") and part in line


def test_images_and_videos_beyond_are_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    pytest.importorskip("diffusers")
    from concept_attention.hosts.diffusers import analyze, generate, load_pipeline
    from concept_attention.hosts.diffusers.pipelines import request

    request._warn.cache_clear()  # another test may have been warned of the same
    pipeline, concepts = load_pipeline("tiny", device="cpu"), parse_concepts("house", "sky")
    pipeline.set_progress_bar_config(disable=True)
    beyond = "The landscape model at 64 x 32 pixels"
    with caplog.at_level(logging.WARNING, "concept_attention"):
        generate(pipeline, "a house", concepts, width=64, height=32, steps=1)
        for _ in range(2):
            analyze(pipeline, Image.new("RGB", (64, 32)), concepts, width=64, noise=0.95)
    first, second = (record.message for record in caplog.records)
    assert beyond in first and "at noise" not in first
    assert beyond in second and "at noise 0.95" in second
    caplog.clear()
    with caplog.at_level(logging.WARNING, "concept_attention"):
        analyze(pipeline, Image.new("RGB", (256, 256)), concepts)
    assert not caplog.records
