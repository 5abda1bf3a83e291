"""Other node packs beside this one, in one ComfyUI: is the latent the same, and are concepts recorded?

    python -m benchmarks.third_party [--packs DIR] [--only NAME ...] [--cache DIR]

Every pack of the table is taken from `--packs`, or cloned from GitHub at its commit; what cannot be had, or imported
here, is skipped aloud. Then ComfyUI starts with all of them, and every node of the table runs without recording, and
with recording on either side of it. It ends with 1 if a latent differs, or a run fails that works without recording.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tests.support.comfyui.boot import boot
from tests.support.server.client import Client, NodeError, Refused
from tests.support.server.landscape import Landscape
from tests.support.server.process import ComfyProcess

Inputs = Mapping[str, Any]
CLONE_S = 300


@dataclass(frozen=True)
class Pack:
    """A public node pack.

    Attributes:
        repository: owner and name on GitHub.
        commit: that is tried.
        patches: its nodes that take a MODEL and give one, with inputs that are not their defaults.
        samplers: its nodes that sample as KSampler does, likewise.
    """

    repository: str
    commit: str
    patches: Mapping[str, Inputs] = field(default_factory=dict)
    samplers: Mapping[str, Inputs] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.repository.partition("/")[2]


PACKS = (
    Pack(
        "ClownsharkBatwing/RES4LYF",
        "022c873c6d198c67b3312a1804336533a050df18",
        {"ReFluxPatcher": {}},
        {"ClownsharKSampler_Beta": {"sampler_name": "multistep/res_2m", "eta": 0.0}},
    ),
    Pack("ChenDarYen/ComfyUI-NAG", "ef8a641be08983cf5f06669f70719b6eecce3c7f", {}, {"KSamplerWithNAG": {}}),
    Pack(
        "welltop-cn/ComfyUI-TeaCache",
        "91dff8e31684ca70a5fda309611484402d8fa192",
        {"TeaCache": {"model_type": "flux", "cache_device": "cpu"}},
    ),
    Pack(
        "Zehong-Ma/ComfyUI-MagCache",
        "47bdd2aca97e568087c4e92d2d2f0426bdce7a37",
        {"MagCache": {"model_type": "flux"}},
    ),
    Pack(
        "pamparamm/sd-perturbed-attention",
        "904319bff623b185f15047e231a446d615ee48c6",
        {"FrequencyDecoupledGuidance": {}, "MomentumGuidance": {}, "SlidingModeControlCFG": {}},
    ),
    Pack("cubiq/ComfyUI_essentials", "33ff89fd354d8ec3ab6affb605a79a931b445d99", {"FluxBlocksBuster+": {}}),
    Pack(
        "kijai/ComfyUI-KJNodes",
        "3f20054214fec9f9234fd3841ae6f1e4287948f6",
        {"CFGZeroStarAndInit": {}, "ModelMemoryUseReportPatch": {}},
    ),
    Pack(
        "logtd/ComfyUI-Fluxtapoz",
        "17c71bea20e932945e9c1be0586cfd4b7e51cbf6",
        {"ConfigureModifiedFlux": {}, "OutFluxModelSamplingPred": {}},
    ),
    Pack("rgthree/rgthree-comfy", "13b4399c00b5ef5a97b1b6800fc1185874740f5d"),
    Pack("asagi4/comfyui-prompt-control", "b24d93b778ef833422640b38857060952a71c101"),
    Pack("pamparamm/ComfyUI-ppm", "200f4609ed19abf0c316de0812f885846076bc27"),
    Pack("ltdrdata/ComfyUI-Impact-Pack", "727295b52e5f7b5429e81ca2179172865aa83b99"),
    Pack("ssitu/ComfyUI_UltimateSDUpscale", "34a3c2c0d8a0321d4f9a355092f105046e56d998"),
)


def get(pack: Pack, copies: Path | None, cache: Path) -> str:
    """Put a pack into the cache, at its commit; returns why it is not there, or ""."""
    target = cache / pack.name
    if target.exists():
        return ""
    source = f"https://github.com/{pack.repository}"
    if copies is not None:
        owner = pack.repository.partition("/")[0]
        found = [copies / pack.name, copies / f"{owner}+{pack.name}" / "repo", copies / f"{pack.name}.git"]
        local = next((one for one in found if one.exists()), None)
        if local is None:
            return f"not in {copies}"
        if (local / "__init__.py").exists() and not (local / ".git").exists():
            shutil.copytree(local, target)
            return ""
        source = str(local)
    for command in (
        ["git", "clone", "--quiet", "--no-checkout", source, str(target)],
        ["git", "-C", str(target), "checkout", "--quiet", pack.commit],
        ["git", "-C", str(target), "submodule", "--quiet", "update", "--init", "--recursive"],
    ):
        try:
            done = subprocess.run(  # noqa: S603  # addresses of the table
                command, capture_output=True, text=True, timeout=CLONE_S, check=False
            )
            reason = done.stderr.strip().splitlines()[-1] if done.returncode else ""
        except subprocess.TimeoutExpired:
            reason = f"no answer within {CLONE_S} s"
        if reason:
            shutil.rmtree(target, ignore_errors=True)
            return reason
    return ""


@dataclass
class Trial:
    """One node of a pack, or none, in a graph that samples.

    Attributes:
        client: of the running ComfyUI.
        node: id; "" is the stock KSampler alone.
        inputs: that are not the node's defaults.
        samples: whether the node samples by itself.
    """

    client: Client
    info: Mapping[str, Any]
    node: str
    inputs: Inputs
    samples: bool

    def run(self, ours: str) -> tuple[Tensor, str]:
        """The latent, and what was recorded or why nothing was.

        Args:
            ours: place of our patch: `none`, `before` or `after` the node.
        """
        start = Landscape(width=64, height=64)
        graph, model = start.graph, start.model
        if ours == "before":
            model = graph.add("ConceptAttentionPatchModel", model=model, concepts=start.encoded[0])[0]
        if self.node and not self.samples:
            model = graph.add(self.node, **{**self._defaults(start), "model": model, **self.inputs})[0]
        if ours == "after":
            model = graph.add("ConceptAttentionPatchModel", model=model, concepts=start.encoded[0])[0]
        if self.samples:
            sampler = graph.add(self.node, **{**self._defaults(start), "model": model, "steps": 4, **self.inputs})
        else:
            sampler = start.sample(model, cfg=2.0)
        latent = start.save_latent(sampler[0])
        found = self.client.latent(self.client.run(graph), latent)
        if ours == "none":
            return found, ""
        collect = graph.add("ConceptAttentionCollect", latent=sampler[0])
        saved = start.save_recording(collect[0])
        try:
            run = self.client.run(graph)
        except NodeError as error:
            return found, f"not recorded: {error.message}"
        if saved.number not in run.outputs:
            return found, f"not recorded: {self.client.text(run, collect)}"
        recording = self.client.recording(run, saved)
        troubles = recording.metadata.get("troubles", "")
        return found, f"{len(recording.steps)} steps recorded{f' ({troubles})' if troubles else ''}"

    def _defaults(self, start: Landscape) -> dict[str, Any]:
        """A value for every required input of the node."""
        made = {"CONDITIONING": start.positive[0], "LATENT": start.empty[0], "VAE": start.vae, "CLIP": start.clip}
        values: dict[str, Any] = {}
        for name, (kind, *options) in self.info[self.node]["input"]["required"].items():
            settings = options[0] if options else {}
            choices = kind if isinstance(kind, list) else settings.get("options")
            if isinstance(kind, str) and kind in made:
                values[name] = start.negative[0] if "negative" in name else made[kind]
            elif "default" in settings:
                values[name] = settings["default"]
            elif choices:
                values[name] = choices[0]
        return values


def trials(client: Client, packs: list[Pack]) -> Iterator[tuple[str, Trial | str]]:
    """What to run, by name; or why it cannot be."""
    info = client.object_info()
    yield "KSampler beside all packs", Trial(client, info, "", {}, False)
    for pack in packs:
        for nodes, samples in ((pack.patches, False), (pack.samplers, True)):
            for node, inputs in nodes.items():
                name = f"{pack.name}: {node}"
                yield (
                    name,
                    Trial(client, info, node, inputs, samples) if node in info else "the pack has no such node here",
                )


def outcome(trial: Trial) -> tuple[bool, str]:
    """Whether recording changed nothing, and a line that says what happened."""
    try:
        plain, _ = trial.run("none")
    except (NodeError, Refused) as error:
        return True, f"skipped: it does not run without recording: {str(error).splitlines()[0]}"
    lines, well = [], True
    for place in ("before", "after"):
        try:
            latent, said = trial.run(place)
        except (NodeError, Refused) as error:
            well, said = False, f"FAILED: {str(error).splitlines()[0]}"
        else:
            if not torch.equal(latent, plain):
                well, said = False, f"LATENT DIFFERS, {said}"
        lines.append(f"{place}: {said}")
    return well, "; ".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--packs", type=Path, help="folder with copies: NAME, NAME.git or OWNER+NAME/repo")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="packs to try")
    parser.add_argument("--cache", type=Path, help="folder to keep the packs in (default: a temporary one)")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        cache = (given.cache or Path(temporary) / "packs").absolute()
        cache.mkdir(parents=True, exist_ok=True)
        packs = []
        for pack in PACKS:
            if given.only and pack.name not in given.only:
                continue
            reason = get(pack, given.packs, cache)
            print(f"{pack.name} {pack.commit[:8]}: {'SKIPPED, ' + reason if reason else 'here'}", flush=True)
            packs += [] if reason else [pack]
        server = ComfyProcess(boot().root, Path(temporary) / "comfyui", others=[cache / pack.name for pack in packs])
        try:
            server.wait()
            log = server.log.read_text(encoding="utf-8", errors="replace")
            for pack in packs:
                failed = re.search(rf"Cannot import \S*/{re.escape(pack.name)} module for custom nodes: (.*)", log)
                if failed:
                    print(f"{pack.name}: SKIPPED, it cannot be imported here: {failed[1]}", flush=True)
            well = True
            for name, trial in trials(Client(server), packs):
                one, said = (True, f"skipped: {trial}") if isinstance(trial, str) else outcome(trial)
                well = well and one
                print(f"{name}: {said}", flush=True)
        finally:
            server.stop()
    sys.exit(not well)


if __name__ == "__main__":
    main()
