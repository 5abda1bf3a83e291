"""The families of transformers that concepts can pass through, one adapter each, and why others are refused.

A new family is one class in `transformers/` and its line here. Any pipeline of it can then be recorded.
"""

from __future__ import annotations

import importlib
from typing import Any

from torch import nn

from ...errors import UserError
from ..architecture import Architecture
from .eager import eager
from .transformers.adapter import Adapter
from .transformers.cross_attention.adapter import CrossAdapter
from .transformers.family import Family

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
    ("joyimage", "JoyImageEditPlus"),
    ("hunyuan", "HunyuanVideo"),
    ("hunyuan", "HunyuanVideo15"),
    ("hunyuan", "HunyuanImage"),
    ("hunyuan", "MotifVideo"),
    ("hunyuan", "Framepack"),
    ("cogvideox", "CogVideoX"),
    ("cogview", "CogView3Plus"),
    ("cogview", "CogView4"),
    ("mochi", "Mochi"),
    ("easyanimate", "EasyAnimate"),
    ("easyanimate", "ConsisID"),
)
CROSS_TRANSFORMERS = (  # of `cross_attention`: those whose concepts are read as keys
    ("qwen_image21", "QwenImage21"),
    ("wan", "Wan"),
    ("ltx", "LTXVideo"),
    ("ltx", "LTX2"),
    ("unet", "UNet"),
    ("fibo2", "Fibo2"),
    ("kandinsky5", "Kandinsky5"),
    ("plain", "PixArt"),
    ("plain", "Sana"),
    ("plain", "SanaVideo"),
    ("plain", "Allegro"),
    ("plain", "Cosmos"),
    ("hunyuan_dit", "HunyuanDiT"),
    ("latte", "Latte"),
)
# Transformers that read their text in another way, and why concepts cannot be found there.
_CAUSAL = "its text never attends to the image, and passes through its layers in a way that is not followed"
_CROSS = "it has cross-attention only, of a kind that is not read"
_REASONS = {
    **dict.fromkeys(
        (
            "AnyFlowTransformer3DModel",
            "AnyFlowFARTransformer3DModel",
            "HeliosTransformer3DModel",
            "Kandinsky6Transformer3DModel",
            "LuminaNextDiT2DModel",
            "NucleusMoEImageTransformer2DModel",
            "PRXTransformer2DModel",
            "WanAnimateTransformer3DModel",
            "WanAnimate2Transformer3DModel",
        ),
        _CROSS,
    ),
    "OmniGenTransformer2DModel": _CAUSAL,
    "Cosmos3OmniTransformer": _CAUSAL,
    "GlmImageTransformer2DModel": "it gets no prompt: its text tokens are only those of writing in the image",
    "BriaFiboTransformer2DModel": "it adds other text states in every block, which concepts do not have",
}


def _make_adapters(families: tuple[tuple[str, str], ...], folder: str) -> tuple[Any, ...]:
    """Adapters of the families that this diffusers has; an older one lacks younger models."""
    found: list[Any] = []
    for module, name in families:
        try:
            found.append(getattr(importlib.import_module(f".{folder}.{module}", __package__), name)())
        except ImportError as error:
            if not (error.name or "").startswith("diffusers"):
                raise
    return tuple(found)


ADAPTERS: tuple[Adapter, ...] = _make_adapters(TRANSFORMERS, "transformers")
CROSS_ADAPTERS: tuple[CrossAdapter, ...] = _make_adapters(CROSS_TRANSFORMERS, "transformers.cross_attention")


def adapter_for(transformer: nn.Module) -> Family:
    """The adapter of a transformer, compiled or not.

    Raises:
        UserError: if no adapter knows it.
    """
    transformer = eager(transformer)
    for adapter in (*ADAPTERS, *CROSS_ADAPTERS):
        if adapter.matches(transformer):
            return adapter
    name = type(transformer).__name__
    reason = f": {_REASONS[name]}" if name in _REASONS else ""
    families = ", ".join(dict.fromkeys(adapter.name for adapter in (*ADAPTERS, *CROSS_ADAPTERS)))
    raise UserError(
        f"{name} is not supported{reason}. Expected a model of one of these families: {families}. Choose another model."
    )


def described(transformer: nn.Module) -> Architecture:
    """The sizes of a transformer, compiled or not.

    Raises:
        UserError: if no adapter knows it.
    """
    return adapter_for(transformer).describe(eager(transformer))


def joint_adapter_for(transformer: nn.Module) -> Adapter:
    """The adapter of a transformer whose joint blocks concepts can pass through.

    Raises:
        UserError: if there is none.
    """
    found = adapter_for(transformer)
    if isinstance(found, Adapter):
        return found
    raise UserError(
        f"{type(eager(transformer)).__name__} has no joint blocks that concepts can pass through. "
        "Choose mode auto, cross or gram, or another model."
    )


def cross_adapter_for(transformer: nn.Module) -> CrossAdapter:
    """The adapter of a transformer whose concepts are read as keys.

    Raises:
        UserError: if there is none.
    """
    found = adapter_for(transformer)
    if isinstance(found, CrossAdapter):
        return found
    raise UserError(f"{type(eager(transformer)).__name__} has joint blocks: choose a mode of concept attention.")
