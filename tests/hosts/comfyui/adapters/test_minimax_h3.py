"""What is particular to MiniMax-H3: keyframes, references, pictures in the prompt, and frames."""

from __future__ import annotations

import dataclasses
import math
from typing import Any
from unittest import mock

import comfy.nested_tensor
import comfy.quant_ops
import pytest
import torch
from comfy.model_patcher import ModelPatcher

pytest.importorskip("comfy.ldm.minimax.model", reason="needs ComfyUI: this one has no MiniMax-H3")

from comfy.ldm.minimax.model import DiTBlock

from concept_attention.hosts.comfyui.analysis import analyze
from concept_attention.hosts.comfyui.engine.settings import Settings

from ....support.comfyui.architectures.minimax_h3 import VIDEO, make_tiny
from ....support.comfyui.architectures.oracle import recorded_and_expected
from ....support.comfyui.recording_spy import footprint, make_encoded, recording_of, sample_and_record
from ....support.comfyui.tiny import sample
from ....support.numbers import relative_error

CLOSE = 1e-5
FRAME = 24  # tokens of a latent frame


def picture(seed: int = 4) -> torch.Tensor:
    return torch.randn(1, 24, 1, 12, 8, generator=torch.Generator().manual_seed(seed))


KEYFRAME = {"minimax_keyframes": [{"resolved_frame_index": 0, "latent": picture()}]}
REFERENCE = {"minimax_refs": [{"kind": "image", "latent_h": 12, "latent_w": 8, "latent": picture()}]}
PICTURE_IN_PROMPT = {"minimax_token_tags": torch.tensor([0, 0, 0, 1, 1, 1, 1])}


@pytest.mark.parametrize(
    ("options", "others"), [(KEYFRAME, FRAME), (REFERENCE, FRAME), (PICTURE_IN_PROMPT, 0)], ids=["key", "ref", "prompt"]
)
def test_scores_are_those_of_blocks_that_run_on_the_concepts(options: dict[str, Any], others: int) -> None:
    """Keyframes and references are attended to; the maps are the video's."""
    tiny = make_tiny(others=others)
    settings = Settings(make_encoded(width=48))
    recording, expected = recorded_and_expected(
        tiny, tiny.make(), settings, positive=tiny.cond(**options), latent=tiny.empty(), steps=2
    )
    assert recording.grid == (3, 6, 4) and "troubles" not in recording.metadata
    assert relative_error(recording.scores, expected) < CLOSE


def test_latent_frames_stand_for_as_many_frames_as_the_host_says() -> None:
    latent = comfy.nested_tensor.NestedTensor([torch.zeros(1, 24, 7, 4, 4), torch.zeros(1, 32, 2, 5)])
    recording = recording_of(
        VIDEO.make(), Settings(make_encoded(width=48)), positive=VIDEO.cond(), latent=latent, steps=1
    )
    assert recording.frame_counts == (1, 4, 4, 4, 4, 1, 4)


def test_a_picture_is_one_latent_frame() -> None:
    latent = comfy.nested_tensor.NestedTensor([torch.zeros(1, 24, 1, 5, 4), torch.zeros(1, 32, 2, 2)])
    recording = recording_of(
        VIDEO.make(), Settings(make_encoded(width=48)), positive=VIDEO.cond(), latent=latent, steps=1
    )
    assert recording.grid == (1, 3, 2) and not recording.video
    assert (recording.image_size, recording.covered_size) == ((80, 64), (96, 64))


def test_an_existing_picture_is_analysed_with_silence() -> None:
    recording = analyze(VIDEO.make(), Settings(make_encoded(width=48)), {"samples": picture()}, VIDEO.cond(), 0.5, 2)
    assert recording.grid == (1, 6, 4) and len(recording.steps) == 2
    assert recording.scores.std(-1).min() > 0


def test_the_default_layers_of_the_full_size_model() -> None:
    large = dataclasses.replace(VIDEO, config={**VIDEO.config, "num_layers": 50})
    assert VIDEO.adapter.describe(large.build(device="meta")).default_layers == tuple(range(39, 49))


class NewerBlock(DiTBlock):  # type: ignore[misc]
    """A block of ComfyUI 0.35, which a node may give another attention."""

    def forward(
        self, x: Any, t_emb: Any, mod_segments: Any, rope_freqs: Any, transformer_options: Any, attention: Any = None
    ) -> Any:
        with mock.patch.object(self.attn, "forward", attention or self.attn.forward):
            return super().forward(x, t_emb, mod_segments, rope_freqs, transformer_options)


def with_sparse_attention(layers: tuple[int, ...]) -> ModelPatcher:
    """Block Sparse Attention (0.35) in some blocks: tokens are projected in parts and another order, and never seen."""
    model = make_tiny().make()
    network = model.model.diffusion_model

    def give(layer: int) -> Any:
        attn = network.blocks[layer].attn

        def attend(x: torch.Tensor, rope_freqs: Any = None, transformer_options: Any = None) -> torch.Tensor:
            order = torch.randperm(len(x), generator=torch.Generator().manual_seed(1))
            parts = [attn.qkv_proj(part) for part in x[order].split(20)]
            q, k, v = torch.cat(parts)[order.argsort()].view(len(x), 3, attn.heads, attn.head_dim).unbind(1)
            options = {"epsilon": attn.q_norm.eps, "rot_dim": 2 * rope_freqs.shape[-3]}
            weights = attn.q_norm.weight, attn.k_norm.weight
            q, k = comfy.quant_ops.ck.rms_rope_split_half(q[None], k[None], rope_freqs, *weights, **options)
            q, k, v = (one.transpose(-3, -2) for one in (q[0], k[0], v))
            logits = q @ k.transpose(-1, -2) / math.sqrt(attn.head_dim)
            return attn.out_proj((logits.softmax(-1) @ v).transpose(0, 1).flatten(1))

        def run(args: dict[str, Any], _: Any) -> dict[str, Any]:
            given = [args[name] for name in ("img", "t_emb", "mod_segments", "rope_freqs", "transformer_options")]
            return {"img": network.blocks[layer](*given, attention=attend)}

        return run

    for layer in layers:
        model.add_object_patch(f"diffusion_model.blocks.{layer}.__class__", NewerBlock)
        model.set_model_patch_replace(give(layer), "dit", "double_block", layer)
    return model


@pytest.mark.parametrize("layers", [(0, 1, 2), (1,)])
@pytest.mark.parametrize("mode", ["auto", "cross"])
def test_blocks_with_sparse_attention_are_recorded_as_those_with_their_own(layers: tuple[int, ...], mode: str) -> None:
    """Here the attention that a node gives them computes what theirs would."""
    tiny, model = make_tiny(), with_sparse_attention(layers)
    settings = Settings(make_encoded(width=48), mode=mode)
    options: dict[str, Any] = {"positive": tiny.cond(), "latent": tiny.empty(), "steps": 2}
    plain, before = sample(model, **options), footprint(model)
    observed, result = sample_and_record(model, settings, **options)
    assert all(torch.equal(one, other) for one, other in zip(observed.unbind(), plain.unbind(), strict=True))
    assert footprint(model) == before and result.recording is not None, result.reason
    expected = recording_of(tiny.make(), settings, **options)
    assert relative_error(result.recording.scores, expected.scores) < 10 * CLOSE
    assert result.recording.metadata["steps"] == "2 of 2 steps recorded"
