"""The Krea 2 adapter: what its tiny model does not show."""

from __future__ import annotations

import pytest
import torch

from concept_attention.hosts.comfyui.engine.settings import Settings

from ....support.comfyui.architectures.oracle import recorded_and_expected
from ....support.comfyui.recording_spy import make_encoded
from ....support.numbers import relative_error

pytest.importorskip("comfy.ldm.krea2", reason="this ComfyUI has no Krea 2")

from concept_attention.hosts.comfyui.adapters.krea2 import Krea2

from ....support.comfyui.architectures.krea2 import make_tiny

CLOSE = 1e-5
SETTINGS = Settings(make_encoded(width=120))


def test_the_last_fifth_of_the_blocks_whose_text_is_read_is_the_default() -> None:
    tiny = make_tiny()
    model = make_tiny(config={**tiny.config, "layers": 28}).make().model
    assert Krea2().describe(model).default_layers == (21, 22, 23, 24, 25, 26)


@pytest.mark.parametrize("method", ["index", "index_timestep_zero"])
def test_reference_images_are_attended_to_and_not_mapped(method: str) -> None:
    """Those at timestep zero have a modulation of their own, beside that of the image and the concepts."""
    generator = torch.Generator().manual_seed(4)
    references = [torch.randn(1, 16, 1, 8, 6, generator=generator), torch.randn(1, 16, 1, 4, 4, generator=generator)]
    tiny = make_tiny(
        references=12 + 4,
        extra={"reference_latents": lambda *_: references, "reference_latents_method": lambda *_: method},
    )
    recording, expected = recorded_and_expected(
        tiny, tiny.make(), SETTINGS, positive=tiny.cond(), latent=tiny.empty(2), steps=1
    )
    assert recording.scores.shape[-1] == 24 and relative_error(recording.scores, expected) < CLOSE
