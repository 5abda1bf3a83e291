"""The Krea 2 adapter: what its row in the table of architectures does not show."""

from __future__ import annotations

import pytest
import torch

from concept_attention.hosts.comfyui.engine.settings import Settings

from ....support.comfyui.architectures.oracle import recorded_and_expected
from ....support.comfyui.recording_spy import make_encoded
from ....support.numbers import relative_error

pytest.importorskip("comfy.ldm.krea2", reason="this ComfyUI has no Krea 2")

from concept_attention.hosts.comfyui.adapters import krea2

from ....support.comfyui.architectures.krea2 import make_row

CLOSE = 1e-5
SETTINGS = Settings(make_encoded(width=120))


def test_the_last_fifth_of_the_blocks_whose_text_is_read_is_the_default() -> None:
    row = make_row()
    model = make_row(config={**row.config, "layers": 28}).make().model
    assert krea2.describe(model).default_layers == (21, 22, 23, 24, 25, 26)


@pytest.mark.parametrize("method", ["index", "index_timestep_zero"])
def test_reference_pictures_are_looked_at_and_not_mapped(method: str) -> None:
    """Those at timestep zero have a modulation of their own, beside that of the picture and the concepts."""
    generator = torch.Generator().manual_seed(4)
    references = [torch.randn(1, 16, 1, 8, 6, generator=generator), torch.randn(1, 16, 1, 4, 4, generator=generator)]
    row = make_row(
        references=12 + 4,
        extra={"reference_latents": lambda *_: references, "reference_latents_method": lambda *_: method},
    )
    recording, expected = recorded_and_expected(
        row, row.make(), SETTINGS, positive=row.cond(), latent=row.empty(2), steps=1
    )
    assert recording.scores.shape[-1] == 24 and relative_error(recording.scores, expected) < CLOSE
