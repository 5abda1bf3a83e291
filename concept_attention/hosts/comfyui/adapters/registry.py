"""The architecture families of ComfyUI that concepts can go through, one adapter each, and why others are refused."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from ....errors import UserError
from .adapter import Adapter
from .cross_attention.adapter import CrossAdapter

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
    ("minimax_h3", "MiniMaxH3"),
    ("ernie_image", "ErnieImage"),
)
CROSS_FAMILIES = (
    ("cross_attention.wan", "Wan"),
    ("cross_attention.ltx", "LTX"),
    ("cross_attention.unet", "UNet"),
    ("cross_attention.cosmos_predict2", "CosmosPredict2"),
    ("cross_attention.kandinsky5", "Kandinsky5"),
    ("cross_attention.hunyuan_dit", "HunyuanDiT"),
    ("cross_attention.pixart", "PixArt"),
    ("cross_attention.cosmos", "Cosmos"),
    ("cross_attention.qwen_image21", "QwenImage21"),
)


def make_adapters(families: Iterable[tuple[str, str]]) -> tuple[Any, ...]:
    """Adapters of the families, given as (module, class), that this ComfyUI has; an older one lacks younger models."""
    found: list[Any] = []
    for module, name in families:
        try:
            found.append(getattr(importlib.import_module(f".{module}", __package__), name)())
        except ImportError as error:
            if not (error.name or "").startswith("comfy."):
                raise
    return tuple(found)


ADAPTERS: tuple[Adapter, ...] = make_adapters(FAMILIES)
CROSS_ADAPTERS: tuple[CrossAdapter, ...] = make_adapters(CROSS_FAMILIES)

_OTHER_CROSS = (
    "has cross-attention in blocks that no reading here knows: use the stage or checkpoint of a supported model instead"
)
_OVER_TIME = "has layers over time, whose tokens have no place in an image"
_BLIND_TEXT = (
    "reads its text inside of the image model, token by token and blind to the image: there is no text encoder that "
    "could read concepts"
)
_QUESTIONS = (
    "has a text encoder that answers learned questions about a whole prompt and keeps the prompt's words apart: "
    "concepts are not looked for there"
)
_FIXED_TEXT = "has its texts fixed in its weights, and no text encoder that could read concepts"
_OTHER_VARIANT = "is supported, but not in this variant"
_NO_IMAGE = "generates no image: there is nothing to map"
_NO_TEXT = "reads no text: there is nothing to look for"
_REASONS = (
    (_OTHER_VARIANT, "ErnieImage Flux MiniMaxH3 QwenImage SD3"),
    (_OTHER_VARIANT, "Anima CosmosPredict2 CosmosVideo HunyuanDiT Kandinsky5 LTXAV LTXV PixArt WAN21"),
    (_OTHER_VARIANT, "Lotus SD15_instructpix2pix SD21UNCLIP SDXL SDXLRefiner SDXL_instructpix2pix SD_X4Upscaler"),
    (_BLIND_TEXT, "HiDreamO1 SenseNovaU15"),
    (_QUESTIONS, "MingImage"),
    (_FIXED_TEXT, "SeedVR2"),
    (_OTHER_CROSS, "Kandinsky6 Prism StableCascade_B StableCascade_C"),
    (_NO_IMAGE, "ACEStep ACEStep15 DepthAnything3 MiniMaxMusic3 RT_DETR_v4 SAM3 StableAudio1 StableAudio3 YuE2"),
    (_NO_TEXT, "Hunyuan3Dv2 Hunyuan3Dv2_1 SVD_img2vid Stable_Zero123 Trellis2 TripoSplat"),
)
# By class name of the network; of packs with blocks of their own.
_LOAD_OTHERWISE = "load the model with ComfyUI's Load Diffusion Model, or as GGUF, and it records"
_PACKS = {
    "ComfyFluxWrapper": f"runs its blocks in nunchaku's own compiled code, which shows no attention: {_LOAD_OTHERWISE}",
    "NunchakuQwenImageTransformer2DModel": "has nunchaku's own blocks, on whose fused weights concepts cannot ride: "
    + _LOAD_OTHERWISE,
}
# By class name in comfy.model_base; it applies to subclasses as well, unless they have a reason of their own.
_REASON = {name: reason for reason, names in _REASONS for name in names.split()}


def adapter_for(model: BaseModel) -> Adapter | CrossAdapter:
    """The adapter of a model.

    Args:
        model: a BaseModel of comfy.model_base, such as `ModelPatcher.model`.

    Raises:
        UserError: if no adapter supports it, with the reason.
    """
    everyone: tuple[Adapter | CrossAdapter, ...] = (*ADAPTERS, *CROSS_ADAPTERS)
    for adapter in everyone:
        if adapter.matches(model):
            return adapter
    supported = ", ".join(sorted({name for adapter in everyone for name in adapter.supported}))
    raise UserError(
        f"{_describe(model)} {_reason(model)}. Supported are: {supported}. Connect a MODEL of one of these."
    )


def _describe(model: BaseModel) -> str:
    """Class of the model and, because that alone may say too little, class of its network."""
    network = type(getattr(model, "diffusion_model", None)).__name__
    return f"{type(model).__name__} ({network})"


def _reason(model: BaseModel) -> str:
    """Why no adapter supports the model."""
    network = type(getattr(model, "diffusion_model", None))
    if network.__name__ in _PACKS:
        return _PACKS[network.__name__]
    # Stable Diffusion 1 and 2 are plain BaseModels with a U-Net.
    if any(kind.__name__ == "UNetModel" for kind in network.__mro__):
        return _OVER_TIME
    for kind in type(model).__mro__:
        if kind.__name__ in _REASON:
            return _REASON[kind.__name__]
    return "is not supported: neither joint blocks nor cross-attention that is known here were found"
