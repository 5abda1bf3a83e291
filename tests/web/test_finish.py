"""What the viewer computes to finish masks, to list concepts and to write files, against the library and readers."""

from __future__ import annotations

import json
import math
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from concept_attention.choices import METHODS, Kind
from concept_attention.concepts import Concept
from concept_attention.heatmaps.guided import sharpen_heatmaps
from concept_attention.heatmaps.heatmaps import Heatmaps
from concept_attention.heatmaps.masks import make_masks
from concept_attention.heatmaps.summary import summarise

from .test_viewer import numbers, random_shares, run

GRID, SIZE, COVERED = (6, 8), (46, 61), (48, 64)
ALLOWED = 0.003  # of the pixels: at edges of sharpened maps, rounding decides
FINISHES: tuple[dict[str, Any], ...] = (
    {"subtract": ["c"]},
    {"holes": 5.0, "islands": 4.0, "subtract": ["c"]},
    {"grow": 4, "blur": 2.0},
    {"grow": -2},
    {"guided": True},
    {"guided": True, "holes": 3.0, "islands": 3.0, "grow": 2, "blur": 1.0, "subtract": ["c"]},
)
CHOICE = {"threshold": 0.4, "percentile": 70.0, "holes": 0.0, "islands": 0.0, "grow": 0, "blur": 0.0}


@pytest.mark.parametrize("kind", ["share", "presence"])
def test_finished_masks_equal_the_library_s(kind: Kind, tmp_path: Path) -> None:
    heatmaps = Heatmaps(random_shares(8, 1, 3, *GRID), tuple(Concept(n, n) for n in "abc"), kind, SIZE, COVERED)
    generator = torch.Generator().manual_seed(2)
    image = 0.3 + 0.1 * torch.rand(*SIZE, 3, generator=generator)
    image[SIZE[0] // 2 :, SIZE[1] // 3 :] += torch.tensor([0.4, 0.0, 0.2])
    cases = []
    for method in METHODS:
        for wanted in (["a"], ["a", "b"]):
            for finish in FINISHES:
                if method == "soft" and "guided" not in finish and set(finish) <= {"holes", "islands"}:
                    continue
                given = {**finish}
                source = sharpen_heatmaps(heatmaps, image[None]) if given.pop("guided", False) else heatmaps
                options: dict[str, Any] = {"threshold": 0.4, "percentile": 70.0, **given}
                mask = make_masks(source, wanted, method, **options)[0]
                choice = {**CHOICE, "method": method, "guided": "guided" in finish, **given}
                taken = [heatmaps.index(name) for name in choice.pop("subtract", [])]
                chosen = [heatmaps.index(name) for name in wanted]
                cases.append({"choice": choice, "chosen": chosen, "subtracted": taken, "mask": numbers(mask)})
    fixture = {
        "maps": [numbers(one) for one in heatmaps.values[0]],
        "kind": kind,
        "grid": GRID,
        "visible": heatmaps.visible,
        "size": SIZE,
        "image": [numbers(image[..., channel]) for channel in range(3)],
        "cases": cases,
        "allowed": ALLOWED,
    }
    run("finished_mask", fixture, tmp_path)


def test_concepts_are_judged_sorted_and_named(tmp_path: Path) -> None:
    names = ["sun", "house", "ärmel", "grass"]
    shares = random_shares(4, 1, 4, 2, 5, 9)
    shares[:, 3] *= 0.02  # wins nothing
    heatmaps = Heatmaps(shares, tuple(Concept(name, name) for name in names), "share", (40, 72))
    maps = shares[0, :, 0].reshape(4, -1)
    top = math.ceil(maps.shape[1] / 10)
    concentrated = maps.sort(dim=1).values[:, -top:].sum(dim=1) / maps.sum(dim=1)
    means = maps.mean(dim=1)
    places: list[tuple[float, float, float, float]] = [(0, 0, 0.5, 1), (0.5, 0, 1, 0.5), (0.5, 0.5, 1, 1)]
    labelled = torch.full((4, 16, 32), 0.1)
    for concept, (left, top_, right, bottom) in enumerate(places):
        labelled[concept, int(16 * top_) : int(16 * bottom), int(32 * left) : int(32 * right)] = 0.7
    fixture = {
        "concepts": names,
        "frames": [[numbers(shares[0, c, t]) for c in range(4)] for t in range(2)],
        "absent": [bool(one.absent) for one in summarise(heatmaps)],
        "means": means.tolist(),
        "concentrations": concentrated.tolist(),
        "orders": {
            "written": [0, 1, 2, 3],
            "share": means.argsort(descending=True).tolist(),
            "concentration": concentrated.argsort(descending=True).tolist(),
            "name": [2, 3, 1, 0],
        },
        "labels": {
            "maps": [numbers(one) for one in labelled],
            "grid": [16, 32],
            "size": [160, 320],
            "tall": 0.5,
            "winners": [0, 1, 2],
            "boxes": places,
        },
    }
    assert fixture["absent"] == [False, False, False, True]
    run("concepts", fixture, tmp_path)


def test_words_of_the_prompt_are_found(tmp_path: Path) -> None:
    run("prompt_words", {}, tmp_path)


def test_files_are_read_by_numpy(tmp_path: Path) -> None:
    maps = np.random.default_rng(0).random((3, 5, 7), dtype=np.float32)
    archive = tmp_path / "maps.npz"
    run("files", {"maps": maps.flatten().tolist(), "shape": [3, 5, 7], "archive": str(archive)}, tmp_path)
    with np.load(archive) as read:
        assert np.array_equal(read["maps"], maps) and read["海"].tolist() == [1, 2, 3]
    with zipfile.ZipFile(archive) as file:
        assert file.testzip() is None and json.loads(file.read("about.json")) == {"a": 1}
