"""The HunyuanVideo adapter, beside its tiny models: sizes, token refiner, reference frames, padded prompts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import comfy.model_base
import pytest
import torch
from torch import Tensor, nn

from concept_attention.hosts.comfyui.adapters.block_call import BlockCall, ModuleCall
from concept_attention.hosts.comfyui.adapters.hunyuan_video import HunyuanVideo
from concept_attention.hosts.comfyui.engine.settings import Settings

from ....support.comfyui.architectures.hunyuan_video import VARIANTS
from ....support.comfyui.architectures.oracle import recorded_and_expected
from ....support.comfyui.architectures.tiny_architecture import TinyArchitecture
from ....support.comfyui.recording_spy import make_encoded, recording_of
from ....support.comfyui.tiny import make_flux
from ....support.numbers import relative_error

CLOSE = 1e-5
BY_NAME = {tiny.name: tiny for tiny in VARIANTS}
TEXT_TO_VIDEO = BY_NAME["HunyuanVideo"]


def options_of(tiny: TinyArchitecture, batch: int = 1, **options: Any) -> dict[str, Any]:
    return {"positive": tiny.cond(), "latent": tiny.empty(batch), "steps": 2, **options}


def project(network: Any, embeddings: Tensor, timesteps: list[float], rows: Any = slice(None)) -> Tensor:
    """Block-0 concept tokens in a pass with these timesteps, one per row of the batch."""
    refiner = ModuleCall((None, torch.tensor(timesteps), None), None)
    call = BlockCall({}, rows, calls={"text": refiner})
    with torch.no_grad():
        return HunyuanVideo().project_concepts(network, embeddings, call)


@pytest.mark.parametrize(
    "kind, counts, patch, layers, patches, frames",
    [
        ("HunyuanVideo", (20, 40), [1, 2, 2], (16, 17, 18, 19), (1, 2), 4),
        ("HunyuanVideo15", (54, 0), [1, 1, 1], tuple(range(42, 53)), (1, 1), 4),
        ("HunyuanImage21", (20, 40), [2, 2], (16, 17, 18, 19), (1, 2), 0),
    ],
)
def test_sizes_of_the_full_models(
    kind: str,
    counts: tuple[int, int],
    patch: list[int],
    layers: tuple[int, ...],
    patches: tuple[int, int],
    frames: int,
) -> None:
    """1.5 has no single-stream blocks, so nothing reads the text that its last joint block puts out."""
    model: Any = object.__new__(getattr(comfy.model_base, kind))
    nn.Module.__init__(model)
    network = model.diffusion_model = TEXT_TO_VIDEO.make().model.diffusion_model
    network.double_blocks, network.single_blocks = (
        nn.ModuleList(nn.Identity() for _ in range(count)) for count in counts
    )
    network.patch_size = patch
    found = HunyuanVideo().describe(model)
    assert found.default_layers == layers
    assert (found.frame_patch, found.patch, found.frames_per_latent) == (*patches, frames)


def test_flux_is_not_matched() -> None:
    assert not HunyuanVideo().matches(make_flux().model)


def test_a_refined_concept_does_not_depend_on_the_others() -> None:
    network, embeddings = TEXT_TO_VIDEO.make().model.diffusion_model, torch.randn(1, 3, 48)
    together = project(network, embeddings, [700.0])
    alone = [project(network, embeddings[:, [number]], [700.0]) for number in range(3)]
    assert relative_error(together, torch.cat(alone, dim=1)) < CLOSE


def test_concepts_are_refined_at_the_timestep_of_their_row() -> None:
    network, embeddings = TEXT_TO_VIDEO.make().model.diffusion_model, torch.randn(1, 3, 48)
    early, late = (project(network, embeddings, [timestep]) for timestep in (900.0, 100.0))
    assert relative_error(late, early) > 100 * CLOSE
    assert relative_error(project(network, embeddings, [900.0, 100.0]), torch.cat([early, late])) < CLOSE
    assert relative_error(project(network, embeddings, [900.0, 100.0], slice(1, 2)), late) < CLOSE


def test_concepts_see_a_reference_frame_that_is_not_mapped() -> None:
    """Its tokens come before the video's."""
    frame = torch.randn(1, 16, 1, 8, 6, generator=torch.Generator().manual_seed(4))
    tiny = replace(TEXT_TO_VIDEO, extra={**TEXT_TO_VIDEO.extra, "ref_latent": lambda *_: frame}, target_last=True)
    model = tiny.make()
    recording, expected = recorded_and_expected(tiny, model, Settings(make_encoded()), **options_of(tiny))
    assert recording.grid == (3, 4, 3)
    assert relative_error(recording.scores, expected) < CLOSE
    without = recording_of(model, **options_of(TEXT_TO_VIDEO))
    assert relative_error(recording.scores, without.scores) > 100 * CLOSE


def test_padding_of_the_prompt_is_masked_for_the_prompt_alone() -> None:
    """Concepts see no prompt, so a mask over its tokens is none of their business."""
    mask = torch.tensor([[1, 1, 1, 1, 0, 0, 0]])
    tiny = replace(TEXT_TO_VIDEO, extra={**TEXT_TO_VIDEO.extra, "attention_mask": lambda *_: mask})
    model = tiny.make()
    recording, expected = recorded_and_expected(tiny, model, Settings(make_encoded()), **options_of(tiny))
    assert relative_error(recording.scores, expected) < CLOSE
    without = recording_of(model, **options_of(TEXT_TO_VIDEO))
    assert relative_error(recording.scores, without.scores) > 100 * CLOSE


@pytest.mark.parametrize("missing", ["conditioning_byt5small", "clip_vision_output"])
def test_glyphs_and_images_among_the_text_may_be_missing(missing: str) -> None:
    complete = BY_NAME["HunyuanVideo 1.5"]
    tiny = replace(complete, extra={name: make for name, make in complete.extra.items() if name != missing})
    recording, expected = recorded_and_expected(tiny, tiny.make(), Settings(make_encoded()), **options_of(tiny))
    assert relative_error(recording.scores, expected) < CLOSE
