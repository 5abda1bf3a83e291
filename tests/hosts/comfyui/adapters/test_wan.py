"""Everything in ComfyUI that is made of Wan's blocks: what else such a model looks at is not mapped."""

from __future__ import annotations

import dataclasses
import inspect
from types import SimpleNamespace
from typing import Any, NamedTuple

import comfy.model_base
import pytest
import torch
from torch import Tensor

from concept_attention.hosts.comfyui.engine.settings import Settings

from ....support.comfyui.cross_attention.catalogue import VARIANTS
from ....support.comfyui.cross_attention.tiny_cross import TinyCross
from ....support.comfyui.recording_spy import footprint, sample_and_record
from ....support.comfyui.tiny import sample
from ....support.numbers import relative_error
from .test_cross_attention import concepts_of, equal, options_of

(PLAIN,) = (tiny for tiny in VARIANTS if tiny.family[1] == "Wan")
CLOSE = 1e-5
FRAME = 24  # tokens of a latent frame; the video has three


def noise(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(7))


def video(frames: int = 3, height: int = 8, width: int = 12) -> Tensor:
    return noise(1, 16, frames, height, width)


SEEN = SimpleNamespace(penultimate_hidden_states=noise(1, 257, 1280))  # a picture, by CLIP's vision encoder
BY_IMAGE = {"concat_latent_image": video(), "clip_vision_output": SEEN}


class Variant(NamedTuple):
    """A model of Wan's blocks.

    Attributes:
        kind: class of comfy.supported_models.
        config: what differs in its configuration.
        given: what a prompt carries beside its text.
        first: of its image tokens, the video's first.
        tokens: all of its image tokens.
        calls: of cross-attention in a layer, the block's own first.
    """

    kind: str
    config: dict[str, Any]
    given: dict[str, Any]
    first: int = 0
    tokens: int = 3 * FRAME
    calls: int = 1

    @property
    def tiny(self) -> TinyCross:
        config = {**PLAIN.config, **self.config}
        return dataclasses.replace(PLAIN, kind=self.kind, config=config, latent=(1, config["out_dim"], 3, 8, 12))


MODELS = {
    "Wan 2.1 I2V": Variant("WAN21_I2V", {"model_type": "i2v", "in_dim": 36}, BY_IMAGE),
    "Wan 2.2 14B I2V": Variant("WAN21_I2V", {"in_dim": 36}, {"concat_latent_image": video()}),
    "Wan 2.2 5B": Variant("WAN22_T2V", {"in_dim": 48, "out_dim": 48}, {}),
    "VACE": Variant("WAN21_Vace", {"model_type": "vace", "vace_layers": 3, "vace_in_dim": 96}, {}, calls=2),
    "Fun Camera": Variant(
        "WAN21_Camera",
        {"model_type": "camera", "in_dim": 32},
        {**BY_IMAGE, "camera_conditions": noise(1, 24, 3, 64, 96)},
    ),
    "HuMo": Variant(
        "WAN21_HuMo",
        {"model_type": "humo"},
        {"reference_latents": [video(1)], "audio_embed": noise(1, 3, 8, 5, 1280)},
        tokens=4 * FRAME,
    ),
    "S2V": Variant(
        "WAN22_S2V",
        {"model_type": "s2v", "audio_inject_layers": [0, 2], "audio_dim": 32},
        {"reference_latents": [video(1)], "reference_motion": video(19), "audio_embed": noise(1, 1, 32, 12)},
        tokens=4 * FRAME + 24 + 6 + 4,  # a reference, and the motion at three scales
    ),
    "Animate": Variant(
        "WAN22_Animate",
        {"model_type": "animate", "in_dim": 36, "dim": 128, "num_heads": 1},
        {**BY_IMAGE, "pose_video_latent": video(2)},
    ),
    "Animate 2": Variant(
        "WAN_Animate2", {"model_type": "animate2", "in_dim": 36}, {**BY_IMAGE, "pose_video_latent": video(2)}
    ),
    "SCAIL": Variant(
        "WAN21_SCAIL",
        {"model_type": "scail", "in_dim": 20},
        {"reference_latents": [video(1)], "pose_video_latent": video(3, 4, 6), "clip_vision_output": SEEN},
        first=FRAME,
        tokens=4 * FRAME + 18,
    ),
    "SCAIL-2": Variant(
        "WAN21_SCAIL2",
        {"model_type": "scail2", "in_dim": 20, "mask_in_dim": 28},
        {
            "reference_latents": [video(1), video(1)],
            "pose_video_latent": video(3, 4, 6),
            "clip_vision_output": SEEN,
            "driving_mask_28ch": noise(1, 3, 28, 4, 6),
            "ref_mask_28ch": noise(1, 5, 28, 8, 12),
        },
        first=2 * FRAME,
        tokens=5 * FRAME + 18,
    ),
    "WanDancer": Variant(
        "WAN22_WanDancer",
        {"model_type": "wandancer", "in_dim": 36, "audio_inject_layers": [0, 2]},
        {**BY_IMAGE, "clip_vision_output_ref": SEEN, "audio_embed": noise(1, 50, 35), "fps": 30},
    ),
    "Bernini": Variant("WAN21_T2V", {}, {"context_latents": [video(2), video(1, 4, 6)]}, tokens=5 * FRAME + 6),
}


@pytest.mark.parametrize("name", MODELS)
def test_a_concept_that_repeats_the_prompt_gets_its_attention_in_the_video(name: str) -> None:
    variant = MODELS[name]
    if not (tiny := variant.tiny).in_host:
        pytest.skip(f"this ComfyUI has no {variant.kind}")
    if not all(name in inspect.getsource(comfy.model_base) for name in variant.given):
        pytest.skip(f"this ComfyUI does not know all of {', '.join(variant.given)}")
    model, prompt = tiny.make(), tiny.cond(**variant.given)
    options = options_of(tiny, positive=prompt, negative=tiny.cond(seed=3, **variant.given), cfg=3.0)
    plain, before = sample(model, **options), footprint(model)
    with dataclasses.replace(tiny, grids=((variant.tokens, 1),)).observed() as calls:
        observed, result = sample_and_record(model, Settings(concepts_of(tiny.texts(prompt))), **options)
    assert equal(observed, plain) and footprint(model) == before
    assert result.recording is not None, result.reason
    where = slice(variant.first, variant.first + 3 * FRAME)
    prompt_row = slice(-1, None)  # the negative prompt comes first
    maps = [one.weights.mean(1)[prompt_row, where].transpose(1, 2) for one in calls[:: variant.calls]]
    assert relative_error(result.recording.scores[0].exp(), torch.stack(maps[: tiny.layers])) < CLOSE
    assert result.recording.grid == (3, 4, 6) and len(result.recording.steps) == 2
