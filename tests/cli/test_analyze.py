"""`analyze`: every kind of picture is looked at, none is harmed, and what is no picture is one line."""

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


def test_the_recording_is_the_library_s(run: Any, random_pipeline: Any) -> None:
    SCENE.save("scene.png")
    said = run("analyze", "scene.png", *OPTIONS, "--out", "out", "--prompt", "a house", "--noise", 0.4, "--samples", 2,
               "--seed", 9, "--mode", "paper", "--json")  # fmt: skip
    assert said.code == 0, said.err
    expected = analyze(
        random_pipeline, SCENE, parse_concepts("sky, house"), prompt="a house", noise=0.4, samples=2, seed=9,
        mode="paper", width=96, height=64,
    )  # fmt: skip
    recording = load_recording("out/recording.safetensors")
    assert torch.equal(recording.scores, expected.scores) and recording.mode == "paper"
    summary = said.json
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
def test_pictures_of_every_kind_are_converted(run: Any, name: str, image: Image.Image, expected: np.ndarray) -> None:
    image.save(name)
    said = run("analyze", name, *OPTIONS, "--out", "out")
    assert said.code == 0, said.err
    written = Image.open("out/image.png")
    assert written.mode == "RGB" and np.array_equal(np.asarray(written), expected)


def test_results_have_the_size_of_the_picture_not_of_what_the_model_saw(run: Any) -> None:
    SCENE.resize((150, 100)).save("scene.jpg")
    said = run("analyze", "scene.jpg", *OPTIONS, "--out", "out", "--json")
    assert (said.json["width"], said.json["height"], said.json["grid"]) == (150, 100, [1, 4, 6])
    assert (said.json["settings"]["width"], said.json["settings"]["height"]) == (96, 64)
    for path in Path("out").glob("*_*.png"):
        assert Image.open(path).size == (150, 100)


@pytest.mark.parametrize("size", [(1, 1), (3, 2), (200, 4)])
def test_the_smallest_pictures_have_results_too(run: Any, size: tuple[int, int]) -> None:
    SCENE.resize(size).save("small.png")
    said = run("analyze", "small.png", *OPTIONS, "--out", "out")
    assert said.code == 0, said.err
    assert Image.open("out/mask_sky.png").size == size


def test_a_picture_in_the_folder_of_the_results_is_left_as_it_is(run: Any) -> None:
    Path("out").mkdir()
    transparent().save("out/image.png")
    before = Path("out/image.png").read_bytes()
    assert run("analyze", "out/image.png", *OPTIONS, "--out", "out").code == 0
    assert Path("out/image.png").read_bytes() == before and Path("out/summary.json").exists()


@pytest.mark.parametrize("content", [b"", b"hello", b"\x89PNG\r\n\x1a\n", None, "folder", "half"])
def test_what_is_no_picture_is_one_line(run: Any, tmp_path: Path, content: Any) -> None:
    picture = tmp_path / "picture.png"
    if content == "half":
        SCENE.save(picture)
        picture.write_bytes(picture.read_bytes()[:2000])
    elif content == "folder":
        picture.mkdir()
    elif content is not None:
        picture.write_bytes(content)
    before = sorted(tmp_path.iterdir())
    said = run("analyze", "picture.png", *OPTIONS, "--out", "out")
    assert said.code == 2 and said.out == "" and said.err.count("\n") == 1
    assert said.err.startswith("error: Cannot read picture.png")
    assert sorted(tmp_path.iterdir()) == before
