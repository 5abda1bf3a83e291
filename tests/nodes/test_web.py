"""The scripts that browsers load, in a stand-in front end: slot colours and reports below nodes."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from ..support.nodes.colour_vision import least_distance

WEB = Path(__file__).resolve().parents[2] / "web"
STAND_IN = Path(__file__).with_name("front_end.mjs")
SCRIPTS = sorted(WEB.glob("*.js"))
MODULES = sorted(set(WEB.rglob("*.js")) - set(SCRIPTS))
# Of ComfyUI's dark palette.
CORE = {
    "CLIP": "#FFD500",
    "CLIP_VISION": "#A8DADC",
    "CONDITIONING": "#FFA931",
    "CONTROL_NET": "#6EE7B7",
    "IMAGE": "#64B5F6",
    "LATENT": "#FF9CF9",
    "MASK": "#81C784",
    "MODEL": "#B39DDB",
    "VAE": "#FF6E6E",
    "NOISE": "#B0B0B0",
    "GUIDER": "#66FFFF",
    "SAMPLER": "#ECB4B4",
    "SIGMAS": "#CDFFCD",
}
LEAST_DISTANCE = 0.09  # Oklab; two neighbours of an ordered palette of ten are closer


def colours() -> dict[str, str]:
    text = (WEB / "slot_colours.js").read_text(encoding="utf-8")
    return dict(re.findall(r'^  (CA_\w+): "(#\w{6})",$', text, re.MULTILINE))


def test_every_socket_type_has_a_colour() -> None:
    assert set(colours()) == {"CA_CONCEPTS", "CA_RECORDING", "CA_HEATMAPS"}


@pytest.mark.parametrize("name", ["CA_CONCEPTS", "CA_RECORDING", "CA_HEATMAPS"])
def test_a_colour_is_told_from_all_others_in_every_kind_of_vision(name: str) -> None:
    others = {**CORE, **colours(), "the canvas": "#222222"}
    own = others.pop(name)
    for other, code in others.items():
        distance = least_distance(own, code)
        assert distance > LEAST_DISTANCE, (other, distance)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_script_imports_the_stable_entry_only(script: Path) -> None:
    text = script.read_text(encoding="utf-8")
    foreign = {name for name in re.findall(r'\bfrom "([^"]+)"', text) if not name.startswith("./")}
    assert {"../../scripts/app.js"} <= foreign <= {"../../scripts/app.js", "../../scripts/api.js"}
    assert " fetch(" not in text and ".prototype" not in text and "innerHTML" not in text
    assert len(re.findall(r"app\.registerExtension\(", text)) == 1
    assert re.search(r'^  name: "ConceptAttention\.\w+",$', text, re.MULTILINE)


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.stem)
def test_a_module_imports_other_modules_only_and_does_nothing_by_itself(module: Path) -> None:
    """ComfyUI imports every script it serves: what is not a feature must not notice."""
    text = module.read_text(encoding="utf-8")
    others = ("./", "../data/")
    if module.parent.name == "comfyui":  # what the viewer asks of ComfyUI
        others += ("../view/", "../../common/", "../../../../scripts/app.js", "../../../../scripts/api.js")
    assert all(name.startswith(others) for name in re.findall(r'\bfrom "([^"]+)"', text))
    assert "fetch(" not in text and ".prototype" not in text and "innerHTML" not in text
    statements = re.findall(r"^(?!import|export|const|let|function|class|async|[/ }\])*]|$)[^\n]*", text, re.MULTILINE)
    assert not statements


@pytest.mark.skipif(shutil.which("node") is None, reason="needs Node.js")
@pytest.mark.parametrize("subject", ["colours", "report"])
def test_scripts_do_their_work_in_a_stand_in_front_end(subject: str, tmp_path: Path) -> None:
    served = tmp_path / "extensions" / "My Pack"
    shutil.copytree(WEB, served, dirs_exist_ok=True)
    (tmp_path / "scripts").mkdir()
    (tmp_path / "package.json").write_text('{"type": "module"}', encoding="utf-8")
    (tmp_path / "scripts" / "app.js").write_text("export const app = globalThis.app;\n", encoding="utf-8")
    node = shutil.which("node")
    assert node
    run = subprocess.run(
        [node, str(STAND_IN), str(served), subject], capture_output=True, text=True, check=False, timeout=60
    )
    assert run.returncode == 0, run.stderr
