"""Live previews in a running ComfyUI: a client sees the concepts of every step, and the latent stays the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from concept_attention.drawing.preview import SIZE

from ..support.server.client import Client, NodeError
from ..support.server.landscape import Landscape
from ..support.server.previews import previews


@pytest.mark.parametrize("way", ["patched model", "sampler node"])
def test_a_client_sees_every_step_and_gets_the_same_latent(comfyui: Client, way: str) -> None:
    start = Landscape(width=128, height=64)
    stock = start.sample(start.model, seed=11)
    wish: dict[str, Any] = {"live_preview": "sun"}
    if way == "patched model":
        shown = start.sample(start.patch(**wish)[0], seed=11)
    else:
        options = {"concepts": start.encoded[0], **wish}
        shown = start.sample(start.model, "ConceptAttentionKSampler", seed=11, **options)
    saved = [start.save_latent(node[0]) for node in (stock, shown)]
    with previews(comfyui) as pictures:
        run = comfyui.run(start.graph)
    latents = [comfyui.latent(run, node) for node in saved]
    assert torch.equal(*latents)
    assert [picture.size for picture in pictures] == [(SIZE, SIZE // 2)] * 4  # previews are off: the maps alone
    shades = [np.asarray(picture).astype(int) for picture in pictures]
    assert all(np.ptp(shade) > 50 for shade in shades) and not np.array_equal(shades[0], shades[-1])


def test_without_a_wish_a_client_sees_what_it_always_saw(comfyui: Client) -> None:
    start = Landscape()
    start.save_latent(start.sample(start.patch()[0], seed=12)[0])
    with previews(comfyui) as pictures:
        comfyui.run(start.graph)
    assert pictures == []


def test_a_name_that_is_no_concept_is_refused(comfyui: Client) -> None:
    start = Landscape()
    start.save_latent(start.sample(start.patch(live_preview="moon")[0])[0])
    with pytest.raises(NodeError, match='^ConceptAttentionPatchModel: The live preview cannot show "moon"'):
        comfyui.run(start.graph)
