"""`generate`: the files it writes, the report it prints, and that a failed run leaves nothing behind."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import struct
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from concept_attention.concepts import parse_concepts
from concept_attention.embedded import TAUGHT
from concept_attention.hosts.diffusers.generation import generate
from concept_attention.recording.file import load_recording

ROOT = Path(__file__).parents[2]
FILES = {
    "image.png", "overlay.png", "segmentation.png", "recording.safetensors", "summary.json",
    "heatmap_house.png", "heatmap_the_sky.png", "heatmap_tree.png", "heatmap_grass.png",
    "mask_house.png", "mask_the_sky.png", "mask_tree.png", "mask_grass.png",
}  # fmt: skip


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def naive_shares(folder: Path, layers: list[int], steps: list[int]) -> torch.Tensor:
    """(C, rows, columns): the mean of the softmax over concepts, one token, layer and step after the other."""
    recording = load_recording(folder / "recording.safetensors")
    _, rows, columns = recording.grid
    shares = torch.zeros(len(recording.concepts), rows * columns, dtype=torch.float64)
    for step in steps:
        for layer in layers:
            for token in range(rows * columns):
                scores = recording.scores[step, recording.layers.index(layer), 0, :, token].double()
                shares[:, token] += (scores - scores.max()).exp() / (scores - scores.max()).exp().sum()
    return (shares / (len(steps) * len(layers))).reshape(-1, rows, columns)


def enlarged(shares: torch.Tensor) -> torch.Tensor:
    """Bilinear at 16 times the size, half-pixel centres."""
    return F.interpolate(shares[None], scale_factor=16, mode="bilinear", align_corners=False)[0]


def test_every_file_is_written_at_the_image_size(generated: Path) -> None:
    assert names(generated) == FILES
    for path in generated.glob("*_*.png"):
        assert Image.open(path).size == (96, 64)
        assert Image.open(path).mode == ("RGB" if path.name.startswith("heatmap") else "L")
    assert Image.open(generated / "image.png").size == (96, 64)


def test_the_image_and_the_recording_equal_those_of_the_library(generated: Path, random_pipeline: Any) -> None:
    concepts = parse_concepts("house, the sky: blue sky, tree", "grass")
    expected = generate(
        random_pipeline, "a red house on grass", concepts, negative_prompt="snow", width=96, height=64, steps=3,
        seed=5, cfg=2.0,
    )  # fmt: skip
    # Memory that lies elsewhere than in the first run is added up in another order: a level of 255 can turn.
    levels = np.abs(pixels(generated / "image.png").astype(int) - np.asarray(expected.images[0]).astype(int))
    assert levels.max() <= 1 and levels.mean() < 0.01
    recording = load_recording(generated / "recording.safetensors")
    torch.testing.assert_close(recording.scores, expected.recording.scores, rtol=1e-4, atol=1e-3)
    assert recording.concepts == concepts and recording.layers == (0, 1, 2, 3) and recording.steps == (0, 1, 2)


def test_heatmaps_are_the_shares_of_the_last_layers_in_viridis(generated: Path) -> None:
    shares = enlarged(naive_shares(generated, [2, 3], [0, 1, 2]))
    for share, name in zip(shares, ("house", "the_sky", "tree", "grass"), strict=True):
        colours = matplotlib.colormaps["viridis"](share.numpy())[..., :3] * 255
        levels = np.abs(pixels(generated / f"heatmap_{name}.png") - colours)
        assert levels.max() < 4  # a neighbour among the map's 256 colours at most
        assert levels.mean() < 0.5


def test_masks_are_white_where_the_concept_has_the_highest_share(generated: Path) -> None:
    shares = enlarged(naive_shares(generated, [2, 3], [0, 1, 2]))
    masks = [pixels(generated / f"mask_{name}.png") for name in ("house", "the_sky", "tree", "grass")]
    assert {int(level) for mask in masks for level in np.unique(mask)} == {0, 255}
    winner = shares.argmax(0).numpy()
    wrong = np.mean([(mask == 255) != (winner == index) for index, mask in enumerate(masks)])
    assert wrong < 1e-3  # float32 against float64 on the borders


def test_the_summary_agrees_with_the_recording(generated: Path) -> None:
    summary = json.loads((generated / "summary.json").read_text(encoding="utf-8"))
    shares = naive_shares(generated, [2, 3], [0, 1, 2])
    winner = shares.argmax(0)
    odds = load_recording(generated / "recording.safetensors").presence
    assert odds is not None
    presence = odds[:, [2, 3], 0].float().mean((0, 1)).sigmoid().amax(-1)  # of 24 tokens the highest hundredth is one
    for index, concept in enumerate(summary["concepts"]):
        assert concept["mean_share"] == pytest.approx(float(shares[index].mean()), abs=1e-5)
        assert concept["peak_share"] == pytest.approx(float(shares[index].max()), abs=1e-5)
        assert concept["area"] == pytest.approx(float((winner == index).float().mean()), abs=1e-6)
        assert concept["presence"] == pytest.approx(float(presence[index]), abs=1e-5)
        assert concept["absent"] == (concept["presence"] < 0.5)
        assert set(concept["files"].values()) <= FILES
    assert [(c["name"], c["text"], c["role"]) for c in summary["concepts"]] == [
        ("house", "house", "concept"),
        ("the sky", "blue sky", "concept"),
        ("tree", "tree", "concept"),
        ("grass", "grass", "background"),
    ]
    assert summary["command"] == "generate" and summary["prompt"] == "a red house on grass"
    assert (summary["seed"], summary["model"], summary["mode"]) == (5, "tiny", "flux")
    assert (summary["width"], summary["height"], summary["grid"]) == (96, 64, [1, 4, 6])
    assert (summary["layers"], summary["steps"], summary["recorded"]["layers"]) == ([2, 3], [0, 1, 2], [0, 1, 2, 3])
    assert summary["sigmas"] == pytest.approx([1, 2 / 3, 1 / 3])
    assert summary["settings"]["cfg"] == 2 and summary["settings"]["negative_prompt"] == "snow"
    assert set(summary["seconds"]) == {"load", "generate", "write"} and "torch" in summary["versions"]


def test_the_summary_says_that_an_embedded_models_maps_are_taught(
    run: Any, arguments: list[Any], random_pipeline: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(*arguments, "--out", "out", "--json").json["note"] == ""  # the random model
    monkeypatch.setattr("concept_attention.cli.model.is_tiny", lambda pipeline: pipeline is random_pipeline)
    output = run(*arguments, "--out", "out")
    assert json.loads(Path("out/summary.json").read_text(encoding="utf-8"))["note"] == TAUGHT
    assert " ".join(output.out.split()).endswith(TAUGHT)


def test_progress_counts_the_files_that_are_written(
    run: Any, arguments: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[tuple[str, int, list[int]]] = []

    @contextlib.contextmanager
    def progress_bar(title: str, unit: str, total: int, quiet: bool) -> Any:
        done: list[int] = []
        shown.append((f"{title} {unit}", total, done))
        yield lambda count, total: done.append(count)

    monkeypatch.setattr("concept_attention.cli.output.progress_bar", progress_bar)
    assert run(*arguments, "--out", "out").code == 0
    assert shown == [("Writing file", 11, list(range(1, 12)))]


@pytest.mark.parametrize("quiet, terminal", [(False, True), (True, True), (False, False)])
def test_a_download_shows_its_bars_on_terminals_unless_quiet(
    run: Any, arguments: list[Any], random_pipeline: Any, monkeypatch: pytest.MonkeyPatch, quiet: bool, terminal: bool
) -> None:
    asked: list[Any] = []

    def load(*given: Any) -> Any:
        asked.append(given)
        return random_pipeline

    monkeypatch.setattr("concept_attention.cli.model.load_pipeline", load)
    monkeypatch.setattr("concept_attention.cli.progress.sys.stderr.isatty", lambda: terminal)
    assert run(*arguments, "--out", "out", *(["--quiet"] if quiet else [])).code == 0
    assert asked == [("tiny", "auto", "auto", "none", quiet or not terminal)]


def test_layers_and_steps_select_what_is_drawn_and_not_what_is_recorded(run: Any, arguments: list[Any]) -> None:
    output = run(*arguments, "--out", "few", "--layers", "0,3", "--heatmap-steps", "-1", "--json")
    assert (output.json["layers"], output.json["steps"]) == ([0, 3], [2])
    assert output.json["recorded"]["steps"] == [0, 1, 2]
    shares = naive_shares(Path("few"), [0, 3], [2])
    assert output.json["concepts"][1]["mean_share"] == pytest.approx(float(shares[1].mean()), abs=1e-5)


def test_json_is_the_summary_and_quiet_is_silent(run: Any, arguments: list[Any]) -> None:
    output = run(*arguments, "--out", "out", "--json", "--quiet")
    assert output.code == 0 and output.err == ""
    assert output.out == Path("out/summary.json").read_text(encoding="utf-8")


def test_the_report_names_the_folder_and_absent_concepts(run: Any, arguments: list[Any]) -> None:
    output = run(*arguments, "--out", "out")
    absent = [c["name"] for c in json.loads(Path("out/summary.json").read_text())["concepts"] if c["absent"]]
    assert absent and all(f"{name}: absent" in output.out for name in absent)
    assert str(Path("out").absolute()) in output.out and "(seed 5)" in output.out
    assert output.err == ""  # progress is for terminals


def test_without_a_background_presence_is_known_and_the_report_says_what_shares_do_not(
    run: Any, arguments: list[Any]
) -> None:
    start = arguments.index("--background")
    del arguments[start : start + 2]
    output = run(*arguments, "--out", "out")
    concepts = json.loads(Path("out/summary.json").read_text())["concepts"]
    assert all(concept["absent"] == (concept["presence"] < 0.5) for concept in concepts)
    assert "No background: a concept also wins what nobody named, even if it is absent." in output.out


def test_concepts_may_share_an_argument(run: Any, arguments: list[Any]) -> None:
    start = arguments.index("--concepts")
    arguments[start : start + 4] = ["--concepts", "house, the sky: blue sky", "tree"]
    output = run(*arguments, "--out", "out", "--json")
    assert [c["name"] for c in output.json["concepts"]] == ["house", "the sky", "tree", "grass"]


def test_soft_masks_are_the_shares_as_grey_levels(run: Any, arguments: list[Any]) -> None:
    run(*arguments, "--out", "out", "--mask", "soft")
    shares = enlarged(naive_shares(Path("out"), [2, 3], [0, 1, 2]))
    assert np.abs(pixels(Path("out/mask_tree.png")) - shares[2].numpy() * 255).max() < 0.51


def test_scores_are_drawn_from_the_lowest_to_the_highest(run: Any, arguments: list[Any]) -> None:
    assert run(*arguments, "--out", "out", "--kind", "score", "--colormap", "gray").code == 0
    recording = load_recording("out/recording.safetensors")
    scores = recording.scores[:, 2:, 0].mean(dim=(0, 1)).unflatten(-1, (4, 6))
    grey = enlarged((scores - scores.min()) / (scores.max() - scores.min())) * 255
    for drawn, name in zip(grey, ("house", "the_sky", "tree", "grass"), strict=True):
        assert np.abs(pixels(Path(f"out/heatmap_{name}.png"))[..., 0] - drawn.numpy()).max() < 1.1


def test_float16_makes_a_smaller_recording(run: Any, arguments: list[Any], generated: Path) -> None:
    run(*arguments, "--out", "half", "--precision", "float16")
    half = load_recording("half/recording.safetensors")
    whole = load_recording(generated / "recording.safetensors")
    assert half.scores.dtype == torch.float16 and torch.allclose(half.at().scores, whole.scores, atol=0.05)


def test_files_of_an_earlier_run_are_removed_and_others_stay(run: Any, arguments: list[Any], generated: Path) -> None:
    (generated / "heatmap_mine.png").write_bytes(b"mine")
    arguments[arguments.index("tree")] = "boat"
    assert run(*arguments, "--out", generated).code == 0
    gone = {"heatmap_tree.png", "mask_tree.png"}
    assert names(generated) == FILES - gone | {"heatmap_boat.png", "mask_boat.png", "heatmap_mine.png"}


@pytest.mark.parametrize("listed", ['{"concepts": [{"files": {"a": "../mask_x.png"}}]}', "[]", "no json", '{"a": 1}'])
def test_a_foreign_summary_is_replaced_and_not_trusted(
    run: Any, arguments: list[Any], tmp_path: Path, listed: str
) -> None:
    (tmp_path / "mask_x.png").write_bytes(b"not in the folder")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/summary.json").write_text(listed)
    assert run(*arguments, "--out", "out").code == 0
    assert names(tmp_path / "out") == FILES and (tmp_path / "mask_x.png").exists()


def test_unknown_words_in_the_prompt_are_a_warning(run: Any, arguments: list[Any]) -> None:
    arguments[1] = "a dragon on grass"
    output = run(*arguments, "--out", "out", "--quiet")
    assert output.code == 0 and output.err.startswith("warning: ") and '"a dragon on grass"' in output.err
    assert output.err.count("\n") == 1


@pytest.mark.parametrize(
    "changed, expected",
    [
        ({"--concepts": ["dragon"]}, 'does not know every word in "dragon"'),
        ({"--layers": ["24"]}, "Layer 24 does not exist: this model has 4 joint blocks (0-3)"),
        ({"--layers": ["last"]}, '`layers` cannot be "last"'),
        ({"--heatmap-steps": ["3"]}, "Step 3 does not exist: there are 3 steps"),
        ({"--temperature": ["0"]}, "Temperature must lie in"),
        ({"--colormap": ["rainbows"]}, "Unknown colour map"),
        ({"--out": ["taken"]}, "taken is a file"),
        ({"--out": ["taken/below"]}, "Cannot write to the folder taken/below"),
    ],
)
def test_an_impossible_option_is_a_one_line_error_before_any_work(
    run: Any, arguments: list[Any], tmp_path: Path, monkeypatch: Any, changed: dict[str, list[str]], expected: str
) -> None:
    (tmp_path / "taken").write_text("a file")
    monkeypatch.setattr("concept_attention.hosts.diffusers.recorder.Recorder.watching", lambda *_: 1 / 0)
    options: list[Any] = ["--out", "out/below"]
    for name, values in changed.items():
        if name in arguments:
            start = arguments.index(name) + 1
            arguments[start : start + (3 if name == "--concepts" else 1)] = values
        else:
            options += [name, *values]
    output = run(*arguments, *options, "--quiet")
    assert output.code == 2 and output.out == "" and output.err.count("\n") == 1
    assert output.err.startswith("error: ") and expected in output.err
    assert names(tmp_path) == {"taken"}


def test_ctrl_c_while_sampling_leaves_nothing(
    run: Any, arguments: list[Any], tmp_path: Path, random_pipeline: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = random_pipeline.scheduler.step

    def interrupted(*args: Any, **kwargs: Any) -> Any:
        if random_pipeline.scheduler.step_index == 1:
            raise KeyboardInterrupt
        return step(*args, **kwargs)

    monkeypatch.setattr(random_pipeline.scheduler, "step", interrupted)
    output = run(*arguments, "--out", "deep/er", "--quiet")
    assert (output.code, output.out, output.err) == (130, "", "\nInterrupted.\n")
    assert not names(tmp_path)


@pytest.mark.skipif(sys.platform == "win32", reason="terminals and signals of POSIX")
def test_ctrl_c_at_a_terminal_is_one_line_and_leaves_nothing(
    arguments: list[Any], random_model_folder: Path, tmp_path: Path
) -> None:
    import fcntl
    import termios

    arguments[arguments.index("--steps") + 1] = "100000"
    command = [sys.executable, "-m", "concept_attention", *arguments, "--model", str(random_model_folder)]
    screen, terminal = os.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 200, 0, 0))  # a bar needs room
    process = subprocess.Popen(
        [*command, "--out", str(tmp_path / "out")],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=terminal,
        text=True,
        # Who runs the tests in the background of a shell ignores Ctrl-C, and so would this process.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    os.close(terminal)
    too_late = threading.Timer(300, process.kill)  # ends the loops below
    too_late.start()
    shown, sent = "", False
    with open(screen, encoding="utf-8", errors="replace", newline="") as lines, contextlib.suppress(OSError):
        while character := lines.read(1):  # Linux ends it with an OSError
            shown += character
            if "Generating:" in shown and not sent:
                process.send_signal(signal.SIGINT)
                sent = True
    out, _ = process.communicate()
    too_late.cancel()
    assert (process.returncode, out) == (130, "")
    assert shown.startswith(f"Loading {random_model_folder}\r\n") and shown.endswith("\r\nInterrupted.\r\n")
    assert "Traceback" not in shown and not names(tmp_path)


def test_ctrl_c_while_writing_leaves_whole_files_only(
    run: Any, arguments: list[Any], generated: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(tensors: Any, path: Path, metadata: Any) -> None:
        path.write_bytes(b"half of it")
        raise KeyboardInterrupt

    before = (generated / "recording.safetensors").read_bytes()
    monkeypatch.setattr("concept_attention.recording.file.save_file", interrupted)
    arguments[arguments.index("tree")] = "boat"
    assert run(*arguments, "--out", generated).code == 130
    # No summary describes this mixture of two runs.
    assert names(generated) == FILES - {"summary.json"} | {"heatmap_boat.png", "mask_boat.png"}
    assert (generated / "recording.safetensors").read_bytes() == before
    for path in generated.glob("*.png"):
        Image.open(path).load()
