"""The architecture families of ComfyUI that concepts can go through, one adapter each, and why others are refused."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from typing import TYPE_CHECKING

from ....errors import UserError
from .adapter import Adapter

if TYPE_CHECKING:
    from comfy.model_base import BaseModel

FAMILIES = (  # module, class
    ("flux", "Flux"),
    ("flux2", "Flux2"),
    ("chroma", "Chroma"),
    ("hunyuan_video", "HunyuanVideo"),
    ("sd3", "SD3"),
    ("auraflow", "AuraFlow"),
    ("hidream", "HiDream"),
    ("cogvideox", "CogVideoX"),
    ("mochi", "Mochi"),
    ("qwen_image", "QwenImage"),
    ("joyimage", "JoyImage"),
    ("lens", "Lens"),
    ("pixeldit", "PixelDiT"),
    ("boogu", "Boogu"),
    ("lumina", "Lumina"),
    ("omnigen2", "OmniGen2"),
    ("krea2", "Krea2"),
    ("ideogram4", "Ideogram4"),
)


def make_adapters(families: Iterable[tuple[str, str]]) -> tuple[Adapter, ...]:
    """Adapters of the families, given as (module, class), that this ComfyUI has; an older one lacks younger models."""
    found: list[Adapter] = []
    for module, name in families:
        try:
            found.append(getattr(importlib.import_module(f".{module}", __package__), name)())
        except ImportError as error:
            if not (error.name or "").startswith("comfy."):
                raise
    return tuple(found)


ADAPTERS: tuple[Adapter, ...] = make_adapters(FAMILIES)

_NO_JOINT_BLOCKS = (
    "has cross-attention only: concepts need joint blocks, in which text and image tokens attend to each other"
)
_BLIND_TEXT = (
    "has text tokens that attend to text only: concepts need joint blocks, in which they attend to the image as well"
)
_CLOSED = "has joint blocks, but ComfyUI exposes no hook into their attention"
_OTHER_VARIANT = "is supported, but not in this variant"
_NO_IMAGE = "generates no image: there is nothing to map"
_NO_TEXT = "reads no text: there is nothing to look for"
_PACKED = "samples video and sound packed into one sequence, in which image tokens have no position"
_REASONS = (
    (_OTHER_VARIANT, "Flux QwenImage SD3"),
    (_BLIND_TEXT, "HiDreamO1"),
    (_CLOSED, "ErnieImage SeedVR2"),
    (
        _NO_JOINT_BLOCKS,
        "Anima CosmosPredict2 CosmosVideo HunyuanDiT IP2P Kandinsky5 LTXAV LTXV Lotus PixArt SD21UNCLIP",
    ),
    (_NO_JOINT_BLOCKS, "SDXL SDXLRefiner SD_X4Upscaler StableCascade_B StableCascade_C WAN21"),
    (_NO_IMAGE, "ACEStep ACEStep15 DepthAnything3 MiniMaxMusic3 RT_DETR_v4 SAM3 StableAudio1 StableAudio3"),
    (_NO_TEXT, "Hunyuan3Dv2 Hunyuan3Dv2_1 SVD_img2vid Stable_Zero123 Trellis2 TripoSplat"),
    (_PACKED, "MiniMaxH3"),
)
# By class name in comfy.model_base; it applies to subclasses as well, unless they have a reason of their own.
_REASON = {name: reason for reason, names in _REASONS for name in names.split()}


def adapter_for(model: BaseModel) -> Adapter:
    """The adapter of a model.

    Args:
        model: a BaseModel of comfy.model_base, such as `ModelPatcher.model`.

    Raises:
        UserError: if no adapter supports it, with the reason.
    """
    for adapter in ADAPTERS:
        if adapter.matches(model):
            return adapter
    supported = ", ".join(sorted({name for adapter in ADAPTERS for name in adapter.supported}))
    raise UserError(
        f"{_describe(model)} {_reason(model)}. Supported are: {supported}. Connect a MODEL of one of these."
    )


def _describe(model: BaseModel) -> str:
    """Class of the model and, because that alone may say too little, class of its network."""
    network = type(getattr(model, "diffusion_model", None)).__name__
    return f"{type(model).__name__} ({network})"


def _reason(model: BaseModel) -> str:
    """Why no adapter supports the model."""
    for kind in type(model).__mro__:
        if kind.__name__ in _REASON:
            return _REASON[kind.__name__]
    # Stable Diffusion 1 and 2 are plain BaseModels with a U-Net.
    if any(kind.__name__ == "UNetModel" for kind in type(getattr(model, "diffusion_model", None)).__mro__):
        return _NO_JOINT_BLOCKS
    return "is not supported: no joint blocks were found"
