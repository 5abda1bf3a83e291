"""The Lumina adapter: what its tiny models do not show."""

from __future__ import annotations

import types
from typing import Any

import comfy.model_base
import pytest
import torch
from comfy.text_encoders.z_image import ZImageTokenizer
from torch import nn

from concept_attention.hosts.comfyui.adapters.lumina import TEMPLATE_TOKENS, Lumina
from concept_attention.hosts.comfyui.adapters.registry import adapter_for
from concept_attention.hosts.comfyui.engine.settings import Settings

from ....support.comfyui.architectures.lumina import Z_IMAGE, make_tiny
from ....support.comfyui.architectures.oracle import recorded_and_expected
from ....support.comfyui.recording_spy import make_encoded
from ....support.numbers import relative_error

CLOSE = 1e-5
SETTINGS = Settings(make_encoded(width=48))


@pytest.mark.parametrize(
    ("layers", "padded", "name", "last", "position"), [(26, None, "lumina2", 5, 1), (30, 32, "z_image", 6, 3)]
)
def test_full_size_models_are_described(layers: int, padded: int | None, name: str, last: int, position: int) -> None:
    network = types.SimpleNamespace(
        layers=range(layers),
        pad_tokens_multiple=padded,
        cap_embedder=[None, nn.Linear(2304, 8)],
        patch_size=2,
    )
    found = Lumina().describe(types.SimpleNamespace(diffusion_model=network))
    assert (found.name, found.layer_count, found.text_width) == (name, layers, 2304)
    assert (found.default_layers, found.concept_position) == (tuple(range(layers - 1 - last, layers - 1)), position)


def z_image(text: int = 32, **changes: Any) -> Any:
    return make_tiny("Z-Image", "z_image", "ZImage", position=3, text=text, **{"config": Z_IMAGE, **changes})


def test_ming_image_is_refused_though_its_network_is_z_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """In ComfyUI 0.36: its embeddings are answers to learned questions, and its words are kept beside them."""

    class MingImage(comfy.model_base.Lumina2):  # type: ignore[misc]
        pass

    monkeypatch.setattr(comfy.model_base, "MingImage", MingImage, raising=False)
    model = z_image().build(device="meta")
    assert isinstance(adapter_for(model), Lumina)
    model.__class__ = MingImage
    with pytest.raises(ValueError, match=r"^MingImage \(NextDiT\) has a text encoder that answers learned questions"):
        adapter_for(model)


def test_captions_of_any_length_and_odd_images_are_found_beside_their_padding() -> None:
    tiny = z_image(text=64, latent=(1, 16, 9, 17), grid=(1, 5, 9))
    recording, expected = recorded_and_expected(
        tiny, tiny.make(), SETTINGS, positive=tiny.cond(tokens=40), latent=tiny.empty(2), steps=1
    )
    assert recording.scores.shape[-1] == 45 and relative_error(recording.scores, expected) < CLOSE


@pytest.mark.parametrize("captioned", [False, True])
def test_omnis_reference_images_are_attended_to_and_not_mapped(captioned: bool) -> None:
    """Each has a caption, or pad tokens in its place, before the image's own; what a vision encoder says follows."""
    generator = torch.Generator().manual_seed(4)
    references = [torch.randn(1, 16, 8, 6, generator=generator), torch.randn(1, 16, 12, 14, generator=generator)]
    extra: dict[str, Any] = {"reference_latents": lambda *_: references}
    if captioned:
        captions = [torch.randn(1, 5, 48, generator=generator), torch.randn(1, 3, 48, generator=generator)]
        extra["reference_latents_text_embeds"] = lambda *_: captions
    tiny = z_image(
        text=3 * 32,
        earlier=2 * 32,
        latent=(1, 16, 16, 8),  # 32 tokens, which need no padding
        grid=(1, 8, 4),
        target_last=True,
        config={**Z_IMAGE, "siglip_feat_dim": 24},
        extra=extra,
    )
    recording, expected = recorded_and_expected(
        tiny, tiny.make(), SETTINGS, positive=tiny.cond(), latent=tiny.empty(2), steps=1
    )
    assert recording.scores.shape[-1] == 32 and relative_error(recording.scores, expected) < CLOSE


def test_the_text_encoders_template_is_as_long_as_assumed() -> None:
    (one,), (other,) = (ZImageTokenizer().tokenize_with_weights(word)["qwen3_4b"] for word in ("cat", "landscape"))
    differing = [place for place, (a, b) in enumerate(zip(one, other, strict=True)) if a[0] != b[0]]
    assert differing == [TEMPLATE_TOKENS]
