"""The Ideogram 4 adapter: what its tiny model does not show."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor

from concept_attention.hosts.comfyui.engine.settings import Settings

from ....support.comfyui.architectures.oracle import recorded_and_expected
from ....support.comfyui.architectures.tiny_architecture import Arguments
from ....support.comfyui.recording_spy import make_encoded
from ....support.numbers import relative_error

pytest.importorskip("comfy.ldm.ideogram4", reason="this ComfyUI has no Ideogram 4")

from comfy.text_encoders.ideogram4 import Ideogram4Tokenizer

from concept_attention.hosts.comfyui.adapters.ideogram4 import TEMPLATE_TOKENS, Ideogram4

from ....support.comfyui.architectures.ideogram4 import VARIANTS

(TINY,) = VARIANTS
SETTINGS = Settings(make_encoded(width=TINY.text_width))


def test_the_last_fifth_of_the_layers_whose_text_is_read_is_the_default() -> None:
    model = dataclasses.replace(TINY, config={**TINY.config, "num_layers": 34}).make().model
    assert Ideogram4().describe(model).default_layers == (26, 27, 28, 29, 30, 31, 32)


def test_padding_of_the_prompt_is_nothing_to_concepts() -> None:
    def swap(arguments: Arguments, concept: Tensor) -> Arguments:
        return {**TINY.swap(arguments, concept), "attn_mask": None}

    mask = torch.tensor([[1, 1, 1, 1, 1, 0, 0]])
    tiny = dataclasses.replace(TINY, swap=swap, extra={"attention_mask": lambda *_: mask})
    recording, expected = recorded_and_expected(
        tiny, tiny.make(), SETTINGS, positive=tiny.cond(), latent=tiny.empty(2), steps=1
    )
    assert relative_error(recording.scores, expected) < 1e-5


def test_the_text_encoders_template_is_as_long_as_assumed() -> None:
    (one,), (other,) = (Ideogram4Tokenizer().tokenize_with_weights(word)["qwen3vl_8b"] for word in ("cat", "landscape"))
    differing = [place for place, (a, b) in enumerate(zip(one, other, strict=True)) if a[0] != b[0]]
    assert differing == [TEMPLATE_TOKENS]
