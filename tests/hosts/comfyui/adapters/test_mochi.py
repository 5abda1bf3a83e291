"""The Mochi adapter: sizes, padding that the attention leaves out, and the last block, which has no text to update."""

from __future__ import annotations

import types
from typing import Any

import pytest
import torch
from comfy.ldm.genmo.joint_model.asymm_models_joint import AsymmDiTJoint

from concept_attention.hosts.comfyui.adapters.block_call import BlockCall
from concept_attention.hosts.comfyui.adapters.mochi import Mochi
from concept_attention.hosts.comfyui.engine.settings import Settings
from concept_attention.recording.recording import Recording

from ....support.comfyui.architectures.mochi import VARIANTS
from ....support.comfyui.recording_spy import make_encoded, recording_of
from ....support.comfyui.tiny import Conditioning
from ....support.numbers import relative_error

CLOSE = 1e-5
(TINY,) = VARIANTS


def recorded(positive: Conditioning, **options: Any) -> Recording:
    settings = Settings(make_encoded(width=TINY.text_width))
    return recording_of(TINY.make(), settings, positive=positive, **{"latent": TINY.empty(), "steps": 2, **options})


def test_full_size_mochi_is_described() -> None:
    network = object.__new__(AsymmDiTJoint)
    torch.nn.Module.__init__(network)
    sizes = {"blocks": range(48), "t5_feat_dim": 4096, "patch_size": 2}
    for name, value in sizes.items():
        setattr(network, name, value)
    model = types.SimpleNamespace(diffusion_model=network)
    found = Mochi().describe(model)
    assert Mochi().matches(model) and (found.name, found.text_width) == ("mochi", 4096)
    assert (found.default_layers, found.frames_per_latent) == (tuple(range(37, 47)), 6)


def test_slices_are_counted_from_the_video() -> None:
    call = BlockCall({"x": torch.zeros(1, 32, 4), "y": torch.zeros(1, 256, 4)}, slice(None), 32)
    found = Mochi().token_slices(call, 39)
    assert (found.image, found.target) == (slice(0, 32), slice(0, 32))


def test_padding_of_the_prompt_changes_nothing() -> None:
    """The text encoder pads to 256 tokens; the host cuts them off in every block."""
    short = TINY.cond(tokens=5)
    short[0][1]["attention_mask"] = torch.ones(1, 5, dtype=torch.long)
    padded = [[torch.nn.functional.pad(short[0][0], (0, 0, 0, 20)), {}]]
    padded[0][1]["attention_mask"] = (torch.arange(25) < 5).long()[None]
    assert relative_error(recorded(padded).scores, recorded(short).scores) < CLOSE


def test_the_last_block_is_recorded_without_a_text_to_update() -> None:
    model = TINY.make()
    *_, last = model.model.diffusion_model.blocks
    assert not last.update_y
    recording = recorded(TINY.cond())
    assert recording.layers == (0, 1, 2) and float(recording.scores[:, 2].std()) > 0


@pytest.mark.parametrize(("frames", "counts"), [(1, None), (3, (1, 6, 6))])
def test_a_latent_frame_is_six_video_frames(frames: int, counts: tuple[int, ...] | None) -> None:
    found = recorded(TINY.cond(), latent=torch.zeros(1, 12, frames, 12, 8), steps=1)
    assert (found.grid, found.frame_counts) == ((frames, 6, 4), counts)
