"""What several test modules share: a small random Flux pipeline, made once, with no download."""

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

if TYPE_CHECKING:
    from .support.server.client import Client

load_script("dev_comfyui").mend_torchvision()
torch.set_num_threads(1)  # the tests' models are too small to gain from more, and lose where cores are shared


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Skips are dots in a quiet run: say in words what was not there to test with, and how to get it."""
    skipped = [report.longrepr[2] for report in terminalreporter.stats.get("skipped", ()) if report.longrepr]
    reasons = {reason.removeprefix("Skipped: ") for reason in map(str, skipped)}
    for reason in sorted(reason for reason in reasons if reason.startswith("needs ")):
        terminalreporter.write_line(f"NOT RUN: what {reason}", yellow=True)


@pytest.fixture(scope="session")
def comfyui(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A ComfyUI process with this pack, for all tests of a run. Its log is looked through when they are done."""
    from .support.comfyui.boot import HostMissing, boot
    from .support.server.client import running
    from .support.server.front_end import find_front_end

    try:
        host = boot()  # whether its library can be imported here says whether it can be started
    except HostMissing as missing:
        pytest.skip(str(missing))
    with running(host.root, tmp_path_factory.mktemp("server"), find_front_end()) as client:
        yield client


@pytest.fixture(scope="session")
def random_pipeline() -> Any:
    """A FluxPipeline with the landscape model's architecture and tokenizers, and seeded random weights.

    The weights are large enough that every concept gets another map. On the CPU, float32. Do not change it: tests
    share it. Its defaults are those of a foreign model, so name width and height.
    """
    from diffusers import FlowMatchEulerDiscreteScheduler, FluxPipeline

    from concept_attention.tiny.models.autoencoders import linear_vae, set_linear_encoder
    from concept_attention.tiny.models.codec import fit_codec
    from concept_attention.tiny.models.flux import build_clip_tokenizer, build_parts, build_t5_tokenizer
    from concept_attention.tiny.models.texts import words
    from concept_attention.tiny.world.scenes import draw_scene

    generator = torch.Generator().manual_seed(0)
    codec = fit_codec(np.stack([draw_scene(seed, 64, 64).image for seed in range(8)]))
    parts, vae = build_parts(len(words())), linear_vae(codec)
    with torch.no_grad():
        for module in (*parts.modules().values(), vae):
            for parameter in module.parameters():
                _fill(parameter, generator)
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


def _fill(parameter: torch.Tensor, generator: torch.Generator) -> None:
    """Unit gain for matrices and convolutions, small biases, scales near one."""
    noise = torch.randn(parameter.shape, generator=generator)
    if parameter.ndim > 1:
        parameter.copy_(noise * parameter[0].numel() ** -0.5)
    elif bool((parameter == 1).all()):  # the scale of a norm
        parameter.copy_(1 + 0.1 * noise)
    else:
        parameter.copy_(0.1 * noise)
