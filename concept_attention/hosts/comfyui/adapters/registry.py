"""The architecture families of ComfyUI that concepts can ride through, one adapter module each."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from typing import TYPE_CHECKING, cast

from .adapter import Adapter

if TYPE_CHECKING:
    from comfy.model_base import BaseModel

FAMILIES = (
    "flux",
    "flux2",
    "chroma",
    "hunyuan_video",
    "sd3",
    "auraflow",
    "hidream",
    "cogvideox",
    "mochi",
    "qwen_image",
    "joyimage",
    "lens",
    "pixeldit",
    "boogu",
    "lumina",
    "omnigen2",
    "krea2",
    "ideogram4",
)


def import_adapters(families: Iterable[str]) -> tuple[Adapter, ...]:
    """The adapter modules of those families that the ComfyUI at hand has; an older one lacks the younger ones."""
    found = []
    for family in families:
        try:
            found.append(cast(Adapter, importlib.import_module(f".{family}", __package__)))
        except ImportError as error:
            if not (error.name or "").startswith("comfy."):
                raise
    return tuple(found)


ADAPTERS: tuple[Adapter, ...] = import_adapters(FAMILIES)

_NO_JOINT_BLOCKS = (
    "has cross-attention only: concepts need joint blocks, in which text and image tokens attend to each other"
)
_BLIND_TEXT = (
    "lets its text see text only: concepts need joint blocks, in which text tokens attend to the picture as well"
)
_CLOSED = "has joint blocks, but ComfyUI lets nothing look at their attention"
_OTHER_VARIANT = "is supported, but not in this variant"
_NO_PICTURE = "makes no picture: there is nothing to map"
_NO_TEXT = "reads no text: there is nothing to look for"
_PACKED = "samples video and sound packed into one row of numbers, in which a picture's tokens have no place"
_REASONS = (
    (_OTHER_VARIANT, "Flux QwenImage SD3"),
    (_BLIND_TEXT, "HiDreamO1"),
    (_CLOSED, "ErnieImage SeedVR2"),
    (
        _NO_JOINT_BLOCKS,
        "Anima CosmosPredict2 CosmosVideo HunyuanDiT IP2P Kandinsky5 LTXAV LTXV Lotus PixArt SD21UNCLIP",
    ),
    (_NO_JOINT_BLOCKS, "SDXL SDXLRefiner SD_X4Upscaler StableCascade_B StableCascade_C WAN21"),
    (_NO_PICTURE, "ACEStep ACEStep15 DepthAnything3 MiniMaxMusic3 RT_DETR_v4 SAM3 StableAudio1 StableAudio3"),
    (_NO_TEXT, "Hunyuan3Dv2 Hunyuan3Dv2_1 SVD_img2vid Stable_Zero123 Trellis2 TripoSplat"),
    (_PACKED, "MiniMaxH3"),
)
# By name of a class of comfy.model_base; subclasses are meant as well, unless they have a reason of their own.
_REASON = {name: reason for reason, names in _REASONS for name in names.split()}


def adapter_for(model: BaseModel) -> Adapter:
    """The adapter of a model.

    Args:
        model: a BaseModel of comfy.model_base, as `ModelPatcher.model` is one.

    Raises:
        ValueError: if no adapter knows it; it says why.
    """
    for adapter in ADAPTERS:
        if adapter.matches(model):
            return adapter
    supported = ", ".join(sorted({name for adapter in ADAPTERS for name in adapter.SUPPORTED}))
    raise ValueError(
        f"{_describe(model)} {_reason(model)}. Supported are: {supported}. Connect a MODEL of one of these."
    )


def _describe(model: BaseModel) -> str:
    """Its class, and that of the network inside where the class alone says too little."""
    network = type(getattr(model, "diffusion_model", None)).__name__
    return f"{type(model).__name__} ({network})"


def _reason(model: BaseModel) -> str:
    for kind in type(model).__mro__:
        if kind.__name__ in _REASON:
            return _REASON[kind.__name__]
    # Stable Diffusion 1 and 2 are plain BaseModels with a U-Net.
    if any(kind.__name__ == "UNetModel" for kind in type(getattr(model, "diffusion_model", None)).__mro__):
        return _NO_JOINT_BLOCKS
    return "is unknown here: its joint blocks, if it has any, have not been found"
