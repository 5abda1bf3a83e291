"""The Mochi adapter: sizes, padding that the attention leaves out, and the last block, which has no text to update."""

from __future__ import annotations

import types
from typing import Any

import pytest
import torch
from comfy.ldm.genmo.joint_model.asymm_models_joint import AsymmDiTJoint

from concept_attention.hosts.comfyui.adapters import mochi
from concept_attention.hosts.comfyui.adapters.block_call import BlockCall
from concept_attention.hosts.comfyui.engine.settings import Settings
from concept_attention.recording.recording import Recording

from ....support.comfyui.architectures.mochi import ROWS
from ....support.comfyui.recording_spy import make_encoded, recording_of
from ....support.comfyui.tiny import Conditioning
from ....support.numbers import relative_error

CLOSE = 1e-5
(ROW,) = ROWS


def recorded(positive: Conditioning, **options: Any) -> Recording:
    settings = Settings(make_encoded(width=ROW.text_width))
    return recording_of(ROW.make(), settings, positive=positive, **{"latent": ROW.empty(), "steps": 2, **options})


def test_full_size_mochi_is_described() -> None:
    network = object.__new__(AsymmDiTJoint)
    torch.nn.Module.__init__(network)
    sizes = {"blocks": range(48), "num_heads": 24, "hidden_size_x": 3072, "t5_feat_dim": 4096, "patch_size": 2}
    for name, value in sizes.items():
        setattr(network, name, value)
    model = types.SimpleNamespace(diffusion_model=network)
    found = mochi.describe(model)
    assert mochi.matches(model) and (found.name, found.head_dim, found.text_width) == ("mochi", 128, 4096)
    assert (found.default_layers, found.frames_per_latent) == (tuple(range(37, 47)), 6)


def test_slices_are_counted_from_the_video() -> None:
    call = BlockCall({"x": torch.zeros(1, 32, 4), "y": torch.zeros(1, 256, 4)}, slice(None))
    found = mochi.token_slices(call, 39, 32)
    assert (found.text, found.image, found.picture) == (slice(32, 39), slice(0, 32), slice(0, 32))


def test_padding_of_the_prompt_changes_nothing() -> None:
    """The text encoder pads to 256 tokens; the host cuts them off in every block."""
    short = ROW.cond(tokens=5)
    short[0][1]["attention_mask"] = torch.ones(1, 5, dtype=torch.long)
    padded = [[torch.nn.functional.pad(short[0][0], (0, 0, 0, 20)), {}]]
    padded[0][1]["attention_mask"] = (torch.arange(25) < 5).long()[None]
    assert relative_error(recorded(padded).scores, recorded(short).scores) < CLOSE


def test_the_last_block_is_recorded_without_a_text_to_update() -> None:
    model = ROW.make()
    *_, last = model.model.diffusion_model.blocks
    assert not last.update_y
    recording = recorded(ROW.cond())
    assert recording.layers == (0, 1, 2) and float(recording.scores[:, 2].std()) > 0


@pytest.mark.parametrize(("frames", "counts"), [(1, None), (3, (1, 6, 6))])
def test_a_latent_frame_is_six_picture_frames(frames: int, counts: tuple[int, ...] | None) -> None:
    found = recorded(ROW.cond(), latent=torch.zeros(1, 12, frames, 12, 8), steps=1)
    assert (found.grid, found.frame_counts) == ((frames, 6, 4), counts)
