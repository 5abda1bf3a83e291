"""The viewer's data modules, run by Node.js, against the library: the browser shows the numbers of the outputs."""

from __future__ import annotations

import io
import json
import math
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from concept_attention.choices import KINDS, METHODS, Kind, Method
from concept_attention.concepts import Concept, concept_index, parse_concepts
from concept_attention.drawing.colormaps import OKABE_ITO, colorize, concept_colors
from concept_attention.heatmaps.finish import drop_islands, fill_holes, grow_masks
from concept_attention.heatmaps.guided import sharpen_heatmaps
from concept_attention.heatmaps.heatmaps import Heatmaps, make_heatmaps, select_layers
from concept_attention.heatmaps.masks import make_masks, otsu_level
from concept_attention.heatmaps.resize import gaussian_blur, resize_maps
from concept_attention.recording.recording import Recording
from concept_attention.selection import parse_steps

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
VIEWER = ROOT / "web" / ".viewer"
NODE = shutil.which("node")
LEVELS = 2**16 - 1
TEXTS = json.loads((ROOT / "locales" / "en" / "nodeDefs.json").read_text(encoding="utf-8"))  # of every node's inputs
COLORMAPS = list(TEXTS["ConceptHeatmapOverlay"]["inputs"]["colormap"]["options"])
DOM = r"\b(document|window|navigator|localStorage|sessionStorage|fetch|new \w*(Image|Canvas)\w*)\b"


def run(subject: str, fixture: Any, folder: Path) -> None:
    """Run `<subject>.test.mjs` with the viewer's modules and the numbers to compare with."""
    if NODE is None:
        pytest.skip("needs Node.js")
    modules = folder / "viewer"
    shutil.copytree(VIEWER, modules)
    (folder / "package.json").write_text('{"type": "module"}', encoding="utf-8")
    (folder / "fixture.json").write_text(json.dumps(fixture), encoding="utf-8")
    environment = {**os.environ, "VIEWER": modules.as_uri(), "FIXTURE": str(folder / "fixture.json")}
    command = [NODE, "--test", str(HERE / f"{subject}.test.mjs")]
    done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def numbers(values: Tensor) -> list[float]:
    return [float(value) for value in values.flatten()]


def random_shares(seed: int, *shape: int) -> Tensor:
    """(B, C, ...), with smooth and with decided places."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).mul(2).softmax(dim=1)


def test_colours_equal_the_library_s(tmp_path: Path) -> None:
    values = torch.rand(23, 31, generator=torch.Generator().manual_seed(0)) * 1.4 - 0.2
    values[0, :4] = torch.tensor([0.0, 1.0, 0.5, -3.0])
    maps = []
    for name in COLORMAPS:
        for low, high in ((0.0, 1.0), (-0.1, 0.75), (0.3, 0.3)):
            drawn = (colorize(values, name, low, high) * 255).round().int()
            maps.append({"name": name, "low": low, "high": high, "rgb": drawn.flatten().tolist()})
    palette = (concept_colors(64) * 255).round().int().tolist()
    shares = random_shares(1, 1, 4, 9, 7)[0]
    shares[:, 0, 0] = 0.25  # a tie: the first wins
    fixture = {
        "values": numbers(values),
        "maps": maps,
        "palette": palette,
        "first": [code[1:].lower() for code in OKABE_ITO],
        "shares": [numbers(share) for share in shares],
        "winners": shares.argmax(dim=0).flatten().tolist(),
    }
    run("colour", fixture, tmp_path)


def test_heatmaps_are_resized_as_the_library_resizes_them(tmp_path: Path) -> None:
    cases = []
    sizes: tuple[tuple[tuple[int, int], tuple[int, int], tuple[float, float]], ...] = (
        ((5, 7), (40, 56), (1.0, 1.0)),
        ((5, 7), (33, 50), (1.0, 1.0)),
        ((16, 9), (16, 9), (1.0, 1.0)),
        ((12, 20), (5, 7), (1.0, 1.0)),  # shrinking averages
        ((12, 20), (30, 11), (1.0, 1.0)),  # larger one way, smaller the other
        ((6, 8), (88, 120), (88 / 96, 120 / 128)),  # the grid extends beyond the image
        ((6, 8), (41, 77), (0.9, 0.85)),
        ((1, 1), (4, 6), (1.0, 1.0)),
        ((1, 9), (12, 100), (1.0, 0.5)),
    )
    for seed, (grid, size, visible) in enumerate(sizes):
        values = torch.randn(grid, generator=torch.Generator().manual_seed(seed))
        resized = resize_maps(values, size, visible)
        cases.append(
            {"grid": grid, "size": size, "visible": visible, "map": numbers(values), "resized": numbers(resized)}
        )
    run("geometry", {"cases": cases}, tmp_path)


def make_recording(
    mode: str, grid: tuple[int, int, int], concepts: int, steps: int, layers: tuple[int, ...]
) -> Recording:
    generator = torch.Generator().manual_seed(len(mode) + steps)
    shape = (steps, len(layers), 1, concepts, math.prod(grid))
    spread = {"flux2": 2000.0, "sd3": 20.0}.get(mode, 3.0)
    return Recording(
        scores=spread * torch.randn(shape, generator=generator),
        norms=1 + 9 * torch.rand(shape[:-1], generator=generator),
        layers=layers,
        layer_count=12,
        default_layers=layers[-2:],
        steps=tuple(range(steps)),
        sigmas=tuple(1 - step / steps for step in range(steps)),
        grid=grid,
        image_size=(8 * grid[1], 8 * grid[2]),
        architecture=mode,
        mode=mode,
        concepts=tuple(Concept(f"c{index}", "x") for index in range(concepts)),
    )


def stored(
    recording: Recording, kind: Any, step_groups: Sequence[Sequence[int]], layer_groups: Sequence[Sequence[int]]
) -> dict[str, Any]:
    """The values that a run sends: the mean heatmap of each group of steps and layers, as whole numbers."""
    means = [
        make_heatmaps(recording, layers=group, steps=steps, kind=kind).values.reshape(len(recording.concepts), -1)
        for steps in step_groups
        for group in layer_groups
    ]
    values = torch.stack(means)
    low, high = (float(values.min()), float(values.max())) if kind == "score" else (0.0, 1.0)
    levels = ((values - low) / (high - low) * LEVELS).round().int()
    shape = [len(step_groups), len(layer_groups), len(recording.concepts), *recording.grid]
    return {"stored": levels.flatten().tolist(), "offset": low, "scale": (high - low) / LEVELS, "shape": shape}


@pytest.mark.parametrize("mode", ["flux", "sd3", "flux2"])
@pytest.mark.parametrize("grouped", [False, True], ids=["each step", "groups of steps"])
def test_any_steps_and_layers_give_the_library_s_heatmaps(mode: str, grouped: bool, tmp_path: Path) -> None:
    recording = make_recording(mode, (2, 3, 5), concepts=3, steps=5, layers=(1, 2, 4, 9))
    step_groups = [[0, 1, 2], [3, 4]] if grouped else [[step] for step in range(5)]
    layer_groups = [[1, 2, 4], [9]] if grouped else [[layer] for layer in recording.layers]
    average = "softmax" if mode == "flux2" else "values"
    data = stored(recording, "score" if average == "softmax" else "share", step_groups, layer_groups)
    choices = []
    for steps in ([0], [1], list(range(len(step_groups))), [0, len(step_groups) - 1]):
        for layers in ([0], list(range(len(layer_groups))), [0, len(layer_groups) - 1], [len(layer_groups) - 1]):
            chosen = [s for group in steps for s in step_groups[group]]
            kept = [n for group in layers for n in layer_groups[group]]
            maps = make_heatmaps(recording, layers=kept, steps=chosen).values[0]  # (C, T, H, W)
            frames = [numbers(maps[:, frame]) for frame in range(2)]
            choices.append({"steps": steps, "layers": layers, "frames": frames})
    weights = [[len(group) for group in groups] for groups in (step_groups, layer_groups)]
    temperature = 1000.0 if mode == "flux2" else 1.0
    fixture = {**data, "weights": weights, "average": average, "temperature": temperature, "choices": choices}
    run("heatmaps", fixture, tmp_path)


def test_sums_stay_exact_where_every_value_is_the_largest(tmp_path: Path) -> None:
    """28 steps of 57 layers with the largest stored number, as in the largest recordings."""
    shape = [28, 57, 1, 1, 1, 2]
    full = [LEVELS, LEVELS - 1] * (28 * 57)
    choices = [{"steps": list(range(28)), "layers": list(range(57)), "frames": [[1.0, 1 - 1 / LEVELS]]}]
    weights = [[1] * 28, [1] * 57]
    fixture = {"stored": full, "offset": 0.0, "scale": 1 / LEVELS, "shape": shape, "weights": weights}
    run("heatmaps", {**fixture, "average": "values", "temperature": 1.0, "choices": choices}, tmp_path)


def test_sums_of_a_few_values_stay_exact_where_the_whole_table_overflows(tmp_path: Path) -> None:
    shape = [300, 300, 1, 1, 1, 1]
    choices = [{"steps": [218], "layers": [299], "frames": [[1.0]]}]
    weights = [[1] * 300, [1] * 300]
    fixture = {"stored": [LEVELS] * 300**2, "offset": 0.0, "scale": 1 / LEVELS, "shape": shape, "weights": weights}
    run("heatmaps", {**fixture, "average": "values", "temperature": 1.0, "choices": choices}, tmp_path)


def mask_cases(heatmaps: Heatmaps) -> list[dict[str, Any]]:
    cases = []
    for chosen in (["c0"], ["c2"], ["c0", "c2"]):
        for method in METHODS:
            for threshold, percentile in ((0.5, 90.0), (0.25, 37.5)):
                masks = make_masks(heatmaps, chosen, method, threshold=threshold, percentile=percentile)[0]
                cases.append(
                    {
                        "chosen": [heatmaps.index(name) for name in chosen],
                        "method": method,
                        "threshold": threshold,
                        "percentile": percentile,
                        "mask": numbers(masks),
                    }
                )
    return cases


@pytest.mark.parametrize("subject", ["image", "video", "shrunk", "cut off", "flat"])
def test_masks_equal_the_library_s(subject: str, tmp_path: Path) -> None:
    size, covered = (36, 48), None
    shape: tuple[int, ...] = (1, 3, 6, 8)
    if subject == "video":
        shape = (1, 3, 2, 6, 8)
    elif subject == "shrunk":
        size = (4, 7)
    elif subject == "cut off":
        size, covered = (33, 41), (36, 48)
    values = random_shares(3, *shape)
    if subject == "flat":
        values = torch.full(shape, 1 / 3)
    heatmaps = Heatmaps(values, tuple(Concept(f"c{index}", "x") for index in range(3)), "share", size, covered)
    frames = values[0].unbind(1) if heatmaps.video else [values[0]]
    fixture = {
        "grid": shape[-2:],
        "size": size,
        "visible": heatmaps.visible,
        "frames": [[numbers(plane) for plane in frame] for frame in frames],
        "cases": mask_cases(heatmaps),
        "otsu": [
            {"values": numbers(sample), "level": otsu_level(sample)}
            for sample in (
                values[0, 0],
                torch.rand(200, generator=torch.Generator().manual_seed(5)),
                torch.tensor([0.0, 1, 1, 3]),
            )
            if sample.min() < sample.max()
        ],
    }
    run("masks", fixture, tmp_path)


def plane(values: Tensor) -> dict[str, Any]:
    return {"values": numbers(values), "height": values.shape[0], "width": values.shape[1]}


def sharpened(kind: Kind, grid: tuple[int, int], size: tuple[int, int], covered: tuple[int, int] | None) -> Any:
    """Heatmaps sharpened by an image of two areas and noise, half as large again as they are."""
    generator = torch.Generator().manual_seed(grid[0])
    values = random_shares(grid[1], 1, 3, *grid)
    values = values * 7 - 3 if kind == "score" else values
    heatmaps = Heatmaps(values, tuple(Concept(name, name) for name in "abc"), kind, size, covered)
    height, width = (side * 3 // 2 for side in size)
    image = 0.2 + 0.1 * torch.rand(height, width, 3, generator=generator)
    image[height // 3 :, width // 4 : 2 * width // 3] += torch.tensor([0.5, 0.1, 0.3])
    made = sharpen_heatmaps(heatmaps, image[None]).values[0]
    colours = [numbers(image[..., channel]) for channel in range(3)]
    return {
        "maps": [numbers(one) for one in values[0]],
        "grid": grid,
        "visible": heatmaps.visible,
        "kind": kind,
        "image": {"colours": colours, "height": height, "width": width},
        "size": size,
        "sharpened": [numbers(one) for one in made],
    }


def test_masks_are_finished_as_in_the_library(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    soft = torch.rand(19, 26, generator=generator)
    hard = [(soft > level).float() for level in (0.3, 0.5, 0.7, 2.0)]
    areas = [
        {
            "mask": plane(mask),
            "percent": percent,
            "holes": numbers(fill_holes(mask, percent)),
            "islands": numbers(drop_islands(mask, percent)),
        }
        for mask in hard
        for percent in (0.0, 0.5, 3.0, 100.0)
    ]
    grown = [
        {"mask": plane(mask), "pixels": pixels, "grown": numbers(grow_masks(mask, pixels))}
        for mask in (soft, hard[2])
        for pixels in (-40, -3, -1, 0, 1, 2, 5, 30)
    ]
    blurred = [
        {"mask": plane(mask), "sigma": sigma, "blurred": numbers(gaussian_blur(mask[None], sigma))}
        for mask in (soft, hard[1])
        for sigma in (0.0, 0.5, 2.5, 9.0)
    ]
    guided = [
        sharpened("share", (4, 6), (40, 60), None),
        sharpened("share", (3, 4), (108, 148), (120, 160)),  # a radius at which the image is shrunk
        sharpened("score", (7, 5), (21, 15), None),
    ]
    run("finish", {"areas": areas, "grown": grown, "blurred": blurred, "sharpened": guided}, tmp_path)


def result_of(parse: Callable[[], Sequence[int]]) -> list[int] | None:
    try:
        return list(parse())
    except ValueError:
        return None


def test_texts_are_parsed_as_the_nodes_parse_them(tmp_path: Path) -> None:
    recording = make_recording("flux", (1, 2, 2), concepts=2, steps=6, layers=(1, 2, 4, 9))
    texts = [
        "auto",
        "all",
        " ALL ",
        "Auto",
        "",
        "1",
        "1-2",
        "2,9",
        "9,1",
        "4,9,1",
        "1-4",
        "4-9",
        "0-2",
        "-1",
        "-2--1",
        "0, 2 - 4",
        "3-1",
    ]
    texts += ["4-2", "5", "6", "-6", "-7", "1,,2", "x", "1-", "1.5", "-1-0", "1,1,2", "0-5", "-6-5"]
    layers = {text: result_of(lambda text=text: select_layers(recording, text)) for text in texts}
    steps = {text: result_of(lambda text=text: parse_steps(text, 6)) for text in texts}
    names = ["sky", "Red  car", "a, b", "c: d", "back\\slash", "Straße", "天空"]
    concepts = [Concept(name if name != "Red  car" else "red car", "x") for name in names]
    written = [
        "sky",
        "SKY",
        "sky, red car",
        " red   CAR ",
        "a\\, b",
        "c\\: d",
        "back\\\\slash",
        "天空\nsky",
        "sky: a longer phrase",
        "sk\u200fy, \u202e天空",
    ]
    found = [[concept_index(concepts, concept.name) for concept in parse_concepts(text)] for text in written]
    fixture = {
        "kept": recording.layers,
        "defaults": recording.default_layers,
        "layers": layers,
        "steps": steps,
        "concepts": [{"name": concept.name, "role": concept.role} for concept in concepts],
        "names": [{"text": text, "found": indices} for text, indices in zip(written, found, strict=True)],
    }
    run("selection", fixture, tmp_path)


def test_every_change_is_a_new_state(tmp_path: Path) -> None:
    run("state", {}, tmp_path)


def test_values_are_copied_as_a_table(tmp_path: Path) -> None:
    run("settings", {}, tmp_path)


def test_manifests_are_cached(tmp_path: Path) -> None:
    run("manifest_cache", {}, tmp_path)


def test_results_are_computed_again_when_their_dependencies_change(tmp_path: Path) -> None:
    run("memoize", {}, tmp_path)


def test_the_values_at_a_pixel_are_judged(tmp_path: Path) -> None:
    run("reading", {}, tmp_path)


def accepted_methods(kind: Kind) -> list[Method]:
    """Methods with which the library makes masks of this kind of heatmap."""
    concepts = (Concept("a", "a"), Concept("b", "b"))
    heatmaps = Heatmaps(random_shares(0, 1, 2, 2, 2), concepts, kind, (8, 8))

    def accepts(method: Method) -> bool:
        return result_of(lambda: make_masks(heatmaps, "a", method).flatten().tolist()) is not None

    return [method for method in METHODS if accepts(method)]


def test_copied_lists_equal_the_library_s(tmp_path: Path) -> None:
    accepted = {kind: accepted_methods(kind) for kind in KINDS}
    labels = {}
    for language in ("en", "zh"):
        nodes = json.loads((ROOT / "locales" / language / "nodeDefs.json").read_text(encoding="utf-8"))
        labels[language] = nodes["ConceptHeatmapViewer"]["inputs"]["method"]["options"]
    fixture = {"methods": METHODS, "kinds": KINDS, "colormaps": COLORMAPS, "accepted": accepted, "labels": labels}
    run("choices", fixture, tmp_path)


@pytest.mark.parametrize(("name", "options"), [("Method", METHODS), ("Kind", KINDS)])
def test_copied_types_equal_the_library_s(name: str, options: Sequence[str]) -> None:
    types = (VIEWER / "data" / "types.js").read_text(encoding="utf-8")
    (union,) = re.findall(rf"@typedef {{(.*)}} {name}$", types, re.MULTILINE)
    assert re.findall(r'"(\w+)"', union) == list(options)


def test_the_viewer_writes_to_inputs_that_the_node_has() -> None:
    script = (VIEWER / "comfyui" / "attach.js").read_text(encoding="utf-8")
    (names,) = re.findall(r"^const WIDGETS = \[(.*?)\];$", script, re.MULTILINE | re.DOTALL)
    inputs = list(TEXTS["ConceptHeatmapViewer"]["inputs"])
    others = {"image", "recording", "heatmaps", "mode", "temperature"}
    assert re.findall(r'"(\w+)"', names) == [name for name in inputs if name not in others]


@pytest.mark.parametrize("module", sorted((VIEWER / "data").glob("*.js")), ids=lambda path: path.stem)
def test_data_modules_use_no_dom_and_no_view(module: Path) -> None:
    text = module.read_text(encoding="utf-8")
    assert all(name.startswith("./") for name in re.findall(r'\bfrom "([^"]+)"', text))  # types as well
    code = re.sub(r"/\*.*?\*/|//[^\n]*", "", text, flags=re.DOTALL)
    assert not re.search(DOM, code)


def test_regions_are_read_relative_to_their_strength(tmp_path: Path) -> None:
    masks = torch.zeros(3, 2, 4, 5)  # (R, T, H, W)
    masks[0, 0, 1:3, 1:4] = 1.0
    masks[0, 1, 3, 4] = 0.8
    masks[1, :, 2:, :2] = 0.2  # as strong as this, and no more
    stored = (masks * 255).round().int().flatten().tolist()
    relative = masks / masks.amax(dim=(1, 2, 3), keepdim=True).clamp(min=1 / 255)
    tops = [
        [{"x": 0.5, "y": 0.25}, {"x": 0.9, "y": 0.75}],
        [{"x": 0.2, "y": 0.5}, {"x": 0.2, "y": 0.5}],
        [None, None],
    ]
    names = ["house", "style.safetensors: sky", "absent"]
    values = [[numbers(frame) for frame in region] for region in relative]
    run("regions", {"stored": stored, "shape": [3, 2, 4, 5], "names": names, "masks": values, "tops": tops}, tmp_path)


def test_a_saved_image_holds_its_settings(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.fromarray(np.arange(48, dtype=np.uint8).reshape(4, 4, 3)).save(buffer, "PNG")
    settings = {"picked": ["天空", "a \\ b", "é"], "layers": [15, 18], "threshold": 0.5}
    written = tmp_path / "written.png"
    run("png", {"png": list(buffer.getvalue()), "settings": settings, "written": str(written)}, tmp_path)
    with Image.open(written) as image:
        image.load()
        assert json.loads(image.text["concept_attention"]) == settings  # type: ignore[attr-defined]
        assert image.tobytes() == np.arange(48, dtype=np.uint8).tobytes()
