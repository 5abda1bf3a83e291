"""Fixtures for several test modules: a running ComfyUI, and a small random Flux pipeline without a download."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")  # before diffusers is imported: no advice in the output

import numpy as np
import pytest
import torch

from .support.comfyui.boot import load_script
from .support.weights import fill_parameters

if TYPE_CHECKING:
    from .support.server.client import Client

load_script("dev_comfyui").mend_torchvision()
torch.set_num_threads(1)  # the tests' models are too small to gain from more, and lose where cores are shared


BROWSER = Path(__file__).resolve().parent / "browser"


@pytest.hookimpl(trylast=True)  # after the order was made random
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep together what shares something costly: tests in a browser, tests in one running ComfyUI, and a module's.

    Browser tests come last in one process: while Playwright runs, no other test can use asyncio. Where pytest-xdist
    runs several processes, each group runs in one of them.
    """
    items.sort(key=lambda item: BROWSER in item.path.parents)
    for item in items:
        running = "server" if "comfyui" in getattr(item, "fixturenames", ()) else str(item.path)
        item.add_marker(pytest.mark.xdist_group("browser" if BROWSER in item.path.parents else running))


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Say the order's seed, and what was missing for skipped tests and how to get it: a quiet run shows only dots."""
    if seed := getattr(config.option, "randomly_seed", None):
        terminalreporter.write_line(f"Random order: --randomly-seed={seed}")
    skipped = [report.longrepr[2] for report in terminalreporter.stats.get("skipped", ()) if report.longrepr]
    reasons = {reason.removeprefix("Skipped: ") for reason in map(str, skipped)}
    for reason in sorted(reason for reason in reasons if reason.startswith("needs ")):
        terminalreporter.write_line(f"NOT RUN: what {reason}", yellow=True)


@pytest.fixture(scope="session")
def comfyui(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A ComfyUI process with this pack, for all tests of a run. Its log is checked when they are done."""
    from .support.comfyui.boot import HostMissing, boot
    from .support.server.client import running
    from .support.server.front_end import find_front_end

    try:
        host = boot()  # if its library can be imported here, it can be started
    except HostMissing as missing:
        pytest.skip(str(missing))
    with running(host.root, tmp_path_factory.mktemp("server"), find_front_end()) as client:
        yield client


@pytest.fixture(scope="session")
def random_pipeline() -> Any:
    """A FluxPipeline with the landscape model's architecture and tokenizers, and seeded random weights.

    On the CPU, float32. Do not change it: tests share it. Its defaults are those of an unknown model, so give width and
    height.
    """
    from diffusers import FlowMatchEulerDiscreteScheduler, FluxPipeline

    from concept_attention.tiny.models.autoencoders import linear_vae, set_linear_encoder
    from concept_attention.tiny.models.codec import fit_codec
    from concept_attention.tiny.models.flux import build_flux_parts
    from concept_attention.tiny.models.text_encoders import build_clip_tokenizer, build_t5_tokenizer
    from concept_attention.tiny.models.texts import words
    from concept_attention.tiny.world.scenes import draw_scene

    generator = torch.Generator().manual_seed(0)
    codec = fit_codec(np.stack([draw_scene(seed, 64, 64).image for seed in range(8)]))
    parts, vae = build_flux_parts(len(words())), linear_vae(codec)
    for module in (*parts.modules().values(), vae):
        fill_parameters(module, generator)
    set_linear_encoder(vae, codec)
    pipeline = FluxPipeline(
        transformer=parts.transformer.eval(),
        text_encoder_2=parts.t5.eval(),
        tokenizer_2=build_t5_tokenizer(words()),
        text_encoder=parts.clip.eval(),
        tokenizer=build_clip_tokenizer(words()),
        vae=vae.eval(),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=1.0),
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.fixture(scope="session")
def random_model_folder(random_pipeline: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The random pipeline as a diffusers folder."""
    folder = tmp_path_factory.mktemp("random") / "model"
    random_pipeline.save_pretrained(folder)
    return folder
