"""`analyze`: every kind of image file is analyzed and left unchanged; a file that is no image is a one-line error."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from concept_attention.concepts import parse_concepts
from concept_attention.hosts.diffusers.analysis import analyze
from concept_attention.recording.file import load_recording
from concept_attention.tiny.world.scenes import draw_scene

SCENE = Image.fromarray(draw_scene(3, 96, 64).image)
OPTIONS = ["--concepts", "sky, house", "--width", 96, "--height", 64, "--quiet"]


def transparent() -> Image.Image:
    image = SCENE.convert("RGBA")
    alpha = np.zeros((64, 96), np.uint8)
    alpha[:, 48:] = 255
    image.putalpha(Image.fromarray(alpha))
    return image


def on_white() -> np.ndarray:
    return np.concatenate([np.full((64, 48, 3), 255, np.uint8), np.asarray(SCENE)[:, 48:]], axis=1)


def test_the_recording_equals_that_of_the_library(run: Any, random_pipeline: Any) -> None:
    SCENE.save("scene.png")
    output = run("analyze", "scene.png", *OPTIONS, "--out", "out", "--prompt", "a house", "--noise", 0.4,
                 "--samples", 2, "--seed", 9, "--mode", "paper", "--json")  # fmt: skip
    assert output.code == 0, output.err
    expected = analyze(
        random_pipeline, SCENE, parse_concepts("sky, house"), prompt="a house", noise=0.4, samples=2, seed=9,
        mode="paper", width=96, height=64,
    )  # fmt: skip
    recording = load_recording("out/recording.safetensors")
    assert torch.equal(recording.scores, expected.scores) and recording.mode == "paper"
    summary = output.json
    assert summary == json.loads(Path("out/summary.json").read_text(encoding="utf-8"))
    assert (summary["command"], summary["picture"], summary["prompt"]) == ("analyze", "scene.png", "a house")
    assert (summary["sigmas"], summary["grid"], summary["mode"]) == ([0.4, 0.4], [1, 4, 6], "paper")
    assert (summary["settings"]["noise"], summary["settings"]["samples"]) == (0.4, 2)


@pytest.mark.parametrize(
    "name, image, expected",
    [
        ("rgba.png", transparent(), on_white()),
        ("palette.png", SCENE.quantize(16), np.asarray(SCENE.quantize(16).convert("RGB"))),
        ("grey.png", SCENE.convert("L"), np.asarray(SCENE.convert("L").convert("RGB"))),
        (
            "deep.png",
            Image.fromarray(np.asarray(SCENE.convert("L")).astype(np.uint16) * 257),
            np.asarray(SCENE.convert("L").convert("RGB")),
        ),
    ],
)
def test_images_of_every_mode_are_converted(run: Any, name: str, image: Image.Image, expected: np.ndarray) -> None:
    image.save(name)
    output = run("analyze", name, *OPTIONS, "--out", "out")
    assert output.code == 0, output.err
    written = Image.open("out/image.png")
    assert written.mode == "RGB" and np.array_equal(np.asarray(written), expected)


def test_results_have_the_size_of_the_image_and_not_of_the_model_input(run: Any) -> None:
    SCENE.resize((150, 100)).save("scene.jpg")
    output = run("analyze", "scene.jpg", *OPTIONS, "--out", "out", "--json")
    assert (output.json["width"], output.json["height"], output.json["grid"]) == (150, 100, [1, 4, 6])
    assert (output.json["settings"]["width"], output.json["settings"]["height"]) == (96, 64)
    for path in Path("out").glob("*_*.png"):
        assert Image.open(path).size == (150, 100)


@pytest.mark.parametrize("size", [(1, 1), (3, 2), (200, 4)])
def test_the_smallest_images_have_results_too(run: Any, size: tuple[int, int]) -> None:
    SCENE.resize(size).save("small.png")
    output = run("analyze", "small.png", *OPTIONS, "--out", "out")
    assert output.code == 0, output.err
    assert Image.open("out/mask_sky.png").size == size


def test_an_image_in_the_results_folder_is_not_overwritten(run: Any) -> None:
    Path("out").mkdir()
    transparent().save("out/image.png")
    before = Path("out/image.png").read_bytes()
    assert run("analyze", "out/image.png", *OPTIONS, "--out", "out").code == 0
    assert Path("out/image.png").read_bytes() == before and Path("out/summary.json").exists()


@pytest.mark.parametrize("content", [b"", b"hello", b"\x89PNG\r\n\x1a\n", None, "folder", "half"])
def test_a_file_that_is_no_image_is_a_one_line_error(run: Any, tmp_path: Path, content: Any) -> None:
    file = tmp_path / "broken.png"
    if content == "half":
        SCENE.save(file)
        file.write_bytes(file.read_bytes()[:2000])
    elif content == "folder":
        file.mkdir()
    elif content is not None:
        file.write_bytes(content)
    before = sorted(tmp_path.iterdir())
    output = run("analyze", "broken.png", *OPTIONS, "--out", "out")
    assert output.code == 2 and output.out == "" and output.err.count("\n") == 1
    assert output.err.startswith("error: Cannot read broken.png")
    assert sorted(tmp_path.iterdir()) == before
