"""The OmniGen 2 adapter: what its tiny model does not show."""

from __future__ import annotations

import torch
from comfy.text_encoders.omnigen2 import Omnigen2Tokenizer

from concept_attention.hosts.comfyui.adapters.omnigen2 import TEMPLATE_TOKENS, OmniGen2
from concept_attention.hosts.comfyui.engine.settings import Settings

from ....support.comfyui.architectures.omnigen2 import make_tiny
from ....support.comfyui.architectures.oracle import recorded_and_expected
from ....support.comfyui.recording_spy import make_encoded
from ....support.numbers import relative_error

CLOSE = 1e-5
SETTINGS = Settings(make_encoded(width=48))


def test_the_last_fifth_of_the_layers_whose_text_is_read_is_the_default() -> None:
    tiny = make_tiny()
    model = make_tiny(config={**tiny.config, "num_layers": 32}).make().model
    assert OmniGen2().describe(model).default_layers == (24, 25, 26, 27, 28, 29, 30)


def test_reference_images_are_attended_to_and_not_mapped() -> None:
    generator = torch.Generator().manual_seed(4)
    references = [torch.randn(1, 16, 8, 6, generator=generator), torch.randn(1, 16, 4, 4, generator=generator)]
    tiny = make_tiny(references=12 + 4)
    tiny.extra["reference_latents"] = lambda *_: references
    recording, expected = recorded_and_expected(
        tiny, tiny.make(), SETTINGS, positive=tiny.cond(), latent=tiny.empty(2), steps=1
    )
    assert recording.scores.shape[-1] == 24 and relative_error(recording.scores, expected) < CLOSE


def test_concepts_lie_where_the_words_of_a_prompt_do() -> None:
    tiny = make_tiny(latent=(1, 16, 11, 7))
    recording, expected = recorded_and_expected(
        tiny, tiny.make(), SETTINGS, positive=tiny.cond(tokens=30), latent=tiny.empty(2), steps=1
    )
    assert relative_error(recording.scores, expected) < CLOSE


def test_the_text_encoders_template_is_as_long_as_assumed() -> None:
    (one,), (other,) = (Omnigen2Tokenizer().tokenize_with_weights(word)["qwen25_3b"] for word in ("cat", "landscape"))
    differing = [place for place, (a, b) in enumerate(zip(one, other, strict=True)) if a[0] != b[0]]
    assert differing == [TEMPLATE_TOKENS]
