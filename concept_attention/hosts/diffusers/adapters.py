"""The families of transformers that concepts can pass through, one adapter each, and why others are refused.

A new family is one class in `transformers/` and its line here. Any pipeline of it can then be recorded.
"""

from __future__ import annotations

import importlib

from torch import nn

from ...errors import UserError
from .eager import eager
from .transformers.adapter import Adapter

TRANSFORMERS = (  # module, class
    ("flux", "Flux"),
    ("flux2", "Flux2"),
    ("flux3", "Flux3"),
    ("sd3", "SD3"),
    ("qwen_image", "QwenImage"),
    ("lumina", "ZImage"),
    ("lumina", "Lumina2"),
    ("krea2", "Krea2"),
    ("minimax_h3", "MiniMaxH3"),
    ("flux_like", "Chroma"),
    ("flux_like", "LongCatImage"),
    ("flux_like", "OvisImage"),
    ("flux_like", "Bria"),
    ("hidream", "HiDream"),
    ("auraflow", "AuraFlow"),
    ("ernie_image", "ErnieImage"),
    ("ideogram4", "Ideogram4"),
    ("joyimage", "JoyImage"),
    ("hunyuan", "HunyuanVideo"),
    ("hunyuan", "HunyuanVideo15"),
    ("hunyuan", "HunyuanImage"),
    ("hunyuan", "MotifVideo"),
    ("cogvideox", "CogVideoX"),
    ("cogview", "CogView3Plus"),
    ("cogview", "CogView4"),
    ("mochi", "Mochi"),
    ("easyanimate", "EasyAnimate"),
    ("easyanimate", "ConsisID"),
)
# Transformers that read their text in another way, and why concepts cannot go through them.
_BLIND_TEXT = "its text never attends to the image"
_CROSS = "it has cross-attention only"
_REASONS = {
    **dict.fromkeys(
        (
            "AllegroTransformer3DModel",
            "BriaFibo2Transformer2DModel",
            "CosmosTransformer3DModel",
            "HunyuanDiT2DModel",
            "Kandinsky5Transformer3DModel",
            "Kandinsky6Transformer3DModel",
            "LTX2VideoTransformer3DModel",
            "LTXVideoTransformer3DModel",
            "LatteTransformer3DModel",
            "LuminaNextDiT2DModel",
            "NucleusMoEImageTransformer2DModel",
            "PRXTransformer2DModel",
            "PixArtTransformer2DModel",
            "SanaTransformer2DModel",
            "WanTransformer3DModel",
        ),
        _CROSS,
    ),
    "QwenImage21Transformer2DModel": _BLIND_TEXT,
    "OmniGenTransformer2DModel": _BLIND_TEXT,
    "Cosmos3OmniTransformer": _BLIND_TEXT,
    "GlmImageTransformer2DModel": "it gets no prompt: its text tokens are only those of writing in the image",
    "BriaFiboTransformer2DModel": "it adds other text states in every block, which concepts do not have",
}


def _make_adapters() -> tuple[Adapter, ...]:
    """Adapters of the families that this diffusers has; an older one lacks younger models."""
    found: list[Adapter] = []
    for module, name in TRANSFORMERS:
        try:
            found.append(getattr(importlib.import_module(f".transformers.{module}", __package__), name)())
        except ImportError as error:
            if not (error.name or "").startswith("diffusers"):
                raise
    return tuple(found)


ADAPTERS: tuple[Adapter, ...] = _make_adapters()


def adapter_for(transformer: nn.Module) -> Adapter:
    """The adapter of a transformer, compiled or not.

    Raises:
        UserError: if no adapter knows it.
    """
    transformer = eager(transformer)
    for adapter in ADAPTERS:
        if adapter.matches(transformer):
            return adapter
    name = type(transformer).__name__
    reason = f": {_REASONS[name]}" if name in _REASONS else ""
    families = ", ".join(dict.fromkeys(adapter.name for adapter in ADAPTERS))
    raise UserError(
        f"{name} has no joint blocks that concepts can pass through here{reason}. "
        f"Expected a transformer of one of these families: {families}. Choose another model."
    )
