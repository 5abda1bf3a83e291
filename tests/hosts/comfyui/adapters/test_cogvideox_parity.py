"""CogVideoX in ComfyUI and in diffusers: with the same weights, the same video, the same scores and the same heatmaps.

Diffusers' blocks run the video with the prompt, and the concepts among all 226 tokens with the video.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

pytest.importorskip("diffusers")
pytest.importorskip("comfy.ldm.cogvideo.model", reason="needs ComfyUI: this one has no CogVideoX")

from diffusers import CogVideoXTransformer3DModel

from concept_attention.heatmaps.heatmaps import make_heatmaps
from concept_attention.hosts.comfyui.engine.settings import Settings

from ....support.comfyui.architectures.cogvideox import VARIANTS
from ....support.comfyui.recording_spy import make_encoded, recording_of
from ....support.numbers import naive_scores, relative_error

CLOSE = 1e-4
COUNT, TOKENS = 3, 226
PARTS = {
    "blocks.": "transformer_blocks.",
    ".q.": ".attn1.to_q.",
    ".k.": ".attn1.to_k.",
    ".v.": ".attn1.to_v.",
    ".norm_q.": ".attn1.norm_q.",
    ".norm_k.": ".attn1.norm_k.",
    ".attn_out.": ".attn1.to_out.0.",
    ".ff_proj.": ".ff.net.0.proj.",
    ".ff_out.": ".ff.net.2.",
    "time_embedding_linear": "time_embedding.linear",
}


def twin_of(network: Any, config: dict[str, Any]) -> Any:
    """Diffusers' model with the same weights."""
    config = {name: value for name, value in config.items() if name != "image_model"}
    twin = CogVideoXTransformer3DModel(**config)
    weights = {}
    for name, tensor in network.state_dict().items():
        for theirs, ours in PARTS.items():
            name = name.replace(theirs, ours)
        weights[name] = tensor
    twin.load_state_dict(weights)
    return twin.eval()


class Passed:
    """What the joint blocks of a forward pass take in and attend to."""

    def __init__(self, blocks: Any) -> None:
        self.arguments: list[dict[str, Any]] = []
        self.attended: list[Tensor] = []
        self._undo = ExitStack()
        for block in blocks:
            handle = block.register_forward_pre_hook(self._take, with_kwargs=True)
            self._undo.callback(handle.remove)
            handle = block.attn1.to_out[0].register_forward_pre_hook(self._attend)
            self._undo.callback(handle.remove)

    def _take(self, block: Any, args: Any, kwargs: dict[str, Any]) -> None:
        self.arguments.append(dict(kwargs))

    def _attend(self, projection: Any, args: tuple[Tensor]) -> None:
        self.attended.append(args[0].clone())

    def close(self) -> None:
        self._undo.close()


@torch.no_grad()
def scores_of_twin(twin: Any, passed: Passed, embeddings: Tensor) -> Tensor:
    """Scores (L, B, 226, N) of all tokens of a text that is the concepts and zero embeddings."""
    images = [
        attended[:, arguments["encoder_hidden_states"].shape[1] :]
        for arguments, attended in zip(passed.arguments, passed.attended, strict=True)
    ]
    concept = twin.patch_embed.text_proj(F.pad(embeddings, (0, 0, 0, TOKENS - COUNT)))[None]
    concept = concept.expand(images[0].shape[0], -1, -1)
    concepts = []
    for block, arguments in zip(twin.transformer_blocks, passed.arguments, strict=True):
        again = Passed([block])
        _, following = block(**{**arguments, "encoder_hidden_states": concept})
        again.close()
        concepts.append(again.attended[0][:, :TOKENS])
        concept = following
    return naive_scores(images, concepts)


@pytest.mark.parametrize("tiny", [VARIANTS[0], VARIANTS[2]], ids=lambda tiny: tiny.name)
def test_two_hosts_give_the_same_video_scores_and_heatmaps(tiny: Any) -> None:
    model, latent = tiny.make(), torch.zeros(2, 16, 4, 12, 8)
    network, calls = model.model.diffusion_model, []
    settings = Settings(make_encoded(COUNT, width=tiny.text_width), mode="cogvideox")
    handle = network.register_forward_hook(lambda *call: calls.append(call[1:]), with_kwargs=True)
    recording = recording_of(model, settings, positive=tiny.cond(), latent=latent, steps=2)
    handle.remove()

    twin, expected = twin_of(network, dict(tiny.config)), []
    for (x, timestep), options, output in calls:
        frames = latent.shape[2] // (network.patch_size_t or 1)
        rotations = network._get_rotary_emb(6, 4, frames, device="cpu")
        passed = Passed(twin.transformer_blocks)
        with torch.no_grad():
            video = twin(x.movedim(1, 2), options["context"], timestep, image_rotary_emb=rotations).sample
            video = video.movedim(1, 2)
        passed.close()
        assert relative_error(output, video) < CLOSE
        expected.append(scores_of_twin(twin, passed, settings.encoded.embeddings))
    scores = torch.stack(expected)
    assert len(calls) == 2 and recording.pad_scores is not None
    assert relative_error(recording.scores, scores[:, :, :, :COUNT]) < CLOSE
    assert relative_error(recording.pad_scores, scores[:, :, :, COUNT]) < CLOSE
    shares = scores.softmax(dim=3)[:, :, :, :COUNT].mean(dim=(0, 1)).unflatten(-1, recording.grid)
    assert float((make_heatmaps(recording, "all").values - shares).abs().max()) < CLOSE
    assert float(shares.std()) > 100 * CLOSE
