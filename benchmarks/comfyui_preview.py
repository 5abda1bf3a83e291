"""Time that concepts in the host's live preview add to a sampler step; they must not change the latents.

    python -m benchmarks.comfyui_preview [--check] [--json FILE]
    python -m benchmarks.comfyui_preview --device cuda --dtype bfloat16 --shape flux-dev [--check]

Options and model are those of `comfyui_overhead`. Every run records all layers of all steps. The callback
of a step, which makes the previews, is timed with and without concepts in them.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import torch

from concept_attention.files import write_json
from dev_comfyui import import_library

from .comfyui_overhead import make, parse
from .comfyui_sizes import Sizes
from .measure import is_cuda, machine, synchronize

if TYPE_CHECKING:
    from .comfyui_flux import RandomComfyFlux

BAR = 0.01  # of a step
METHODS = {"latent2rgb": "over the host's preview", "none": "with the host's preview off"}
CALLBACK = 5  # index among the arguments of an OUTER_SAMPLE wrapper


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; 1 if `--check` is given and a bar is missed."""
    options, sizes, comfyui = parse(argv, "comfyui_preview", __doc__)
    import_library(comfyui, [] if is_cuda(sizes.device) else ["--cpu"])
    report = run(sizes, options.pairs)
    print(table(report))
    if options.json:
        write_json(report, options.json)
    met = report["differing"] == 0 and all(row["ratio"] <= BAR for row in report["previews"].values())
    return int(options.check and not met)


@torch.inference_mode()
def run(sizes: Sizes, pairs: int) -> dict[str, Any]:
    """All measurements, as a report for JSON: by preview method, seconds of a step and of its callback, and ratios."""
    model = make(sizes)
    sampled(model, "none", "")  # a warm-up
    previews = {}
    for method in METHODS:
        runs = [(wanted, *sampled(model, method, wanted)) for _ in range(pairs) for wanted in ("", "concept 1")]
        step = statistics.median(seconds / sizes.steps for _, seconds, _ in runs)
        without, with_concepts = (
            statistics.median(one for name, _, each in runs if name == wanted for one in each)
            for wanted in ("", "concept 1")
        )
        ratio = (with_concepts - without) / step
        previews[method] = {"step": step, "without": without, "with": with_concepts, "ratio": ratio}
    where = {**machine(sizes.device), "comfyui": model.comfyui}
    return {"sizes": asdict(sizes), "machine": where, "previews": previews, "differing": model.differing}


def sampled(model: RandomComfyFlux, method: str, wanted: str) -> tuple[float, list[float]]:
    """Seconds of one sampling run, and of its callback in every step.

    Args:
        model: to sample with.
        method: of the host's previews.
        wanted: concept to show in them, or "".
    """
    import latent_preview
    import nodes
    from comfy.patcher_extension import WrappersMP

    from concept_attention.hosts.comfyui.engine.settings import Settings
    from concept_attention.hosts.comfyui.patching import patch_model
    from concept_attention.hosts.comfyui.sampling import ResultHolder

    spent: list[float] = []

    def clock(executor: Any, *args: Any, **kwargs: Any) -> Any:
        def callback(*step: Any) -> Any:
            synchronize(model.sizes.device)
            began = time.perf_counter()
            result = args[CALLBACK](*step)
            synchronize(model.sizes.device)
            spent.append(time.perf_counter() - began)
            return result

        return executor(*args[:CALLBACK], callback, *args[CALLBACK + 1 :], **kwargs)

    patched = patch_model(model.model, Settings(model.encoded, layers="all", live_preview=wanted), ResultHolder())
    patched.add_wrapper_with_key(WrappersMP.OUTER_SAMPLE, "clock", clock)  # inside the one that records
    latent_preview.set_preview_method(method)
    try:
        began = time.perf_counter()
        (latent,) = nodes.common_ksampler(patched, *model.arguments())
        seconds = time.perf_counter() - began
    finally:
        latent_preview.set_preview_method()
    model.compare(latent["samples"])
    return seconds, spent


def table(report: dict[str, Any]) -> str:
    """The report as text."""
    sizes, where = report["sizes"], report["machine"]
    lines = [
        f"Random Flux ({sizes['shape']}), {sizes['width']} wide, {sizes['pixels']} x {sizes['pixels']} pixels, "
        f"{sizes['concepts']} concepts, {sizes['steps']} steps",
        f"{sizes['dtype']} on {where['device']}, {where['threads']} threads, torch {where['torch']}, "
        f"ComfyUI {where['comfyui']}",
        "",
    ]
    for method, row in report["previews"].items():
        added = 1000 * (row["with"] - row["without"])
        met = "met   " if row["ratio"] <= BAR else "MISSED"
        lines.append(
            f"{met} concepts in the preview, {METHODS[method]}: {100 * row['ratio']:.3f} % of a step "
            f"({added:.2f} ms of {1000 * row['step']:.0f} ms; bar {100 * BAR:g} %)"
        )
    lines.append(f"The latents of all runs differ in {report['differing']} values.")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
