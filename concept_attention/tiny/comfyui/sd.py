"""Loading of the embedded landscape model whose maps are not taught, `tiny-sd`, as ComfyUI's own MODEL, CLIP and VAE.

As in `loader`, sizes that ComfyUI's loaders take for granted are given to its classes directly. Its latent space is
that of the Flux landscape model, whose VAE it shares.
"""

from __future__ import annotations

from typing import Any

import comfy.model_base
import comfy.model_management
import comfy.sd
import comfy.sd1_clip
import comfy.supported_models
import comfy.supported_models_base
import comfy.utils
import torch
from comfy.model_patcher import CoreModelPatcher, ModelPatcher

from ...embedded import SD_FOLDER, outside
from .files import WordTokenizer, log_if_unknown, read_config, read_weights, sizes_of
from .loader import CLIP_SIZES, LandscapeLatents, clip_weights, load_vae

NAME = "tiny-sd"


def load_landscape_sd() -> tuple[ModelPatcher, comfy.sd.CLIP, comfy.sd.VAE]:
    """Load the embedded landscape model whose maps are not taught, on whatever devices ComfyUI loads models to.

    Returns:
        MODEL, CLIP and VAE, as from a checkpoint loader. Every call loads them again.
    """
    return load_model(), load_clip(), load_vae()


def load_model(disable_dynamic: bool = False) -> ModelPatcher:
    """The U-Net; LATENTs are those of Flux."""
    device, offload = comfy.model_management.get_torch_device(), comfy.model_management.unet_offload_device()
    config = _Config(_unet_config(read_config(SD_FOLDER, "unet/config")))
    config.set_inference_dtype(torch.float32, None)
    model = config.get_model({})
    patcher = (ModelPatcher if disable_dynamic else CoreModelPatcher)(model, device, offload)
    if not comfy.model_management.is_device_cpu(offload):
        model.to(offload)
    names = comfy.utils.unet_to_diffusers(config.unet_config)
    weights = read_weights(SD_FOLDER, "unet/diffusion_pytorch_model")
    model.load_model_weights({names[name]: tensor for name, tensor in weights.items()}, "", assign=patcher.is_dynamic())
    patcher.cached_patcher_init = (load_model, ())  # how ComfyUI makes a copy for compilation or another GPU
    return patcher


class _Config(comfy.supported_models.SD20):
    """Stable Diffusion 2 at another size; ComfyUI tells from its weights that it predicts v."""

    def __init__(self, unet_config: dict[str, Any]) -> None:
        super().__init__(unet_config)
        self.latent_format = LandscapeSDLatents()

    def model_type(self, state_dict: Any, prefix: str = "") -> comfy.model_base.ModelType:
        return comfy.model_base.ModelType.V_PREDICTION

    def inpaint_model(self) -> bool:
        return False  # more than 4 channels are no mask here


def _unet_config(sizes: dict[str, Any]) -> dict[str, Any]:
    """The configuration of ComfyUI's U-Net from that of diffusers'."""
    widths, blocks = sizes["block_out_channels"], sizes["layers_per_block"]
    down, up, middle = (
        [int("CrossAttn" in kind) for kind in kinds]
        for kinds in (sizes["down_block_types"], reversed(sizes["up_block_types"]), [sizes["mid_block_type"]])
    )
    return {
        "image_size": sizes["sample_size"],
        "in_channels": sizes["in_channels"],
        "out_channels": sizes["out_channels"],
        "model_channels": widths[0],
        "channel_mult": [width // widths[0] for width in widths],
        "num_res_blocks": [blocks] * len(widths),
        "transformer_depth": [depth for depth in down for _ in range(blocks)],
        "transformer_depth_middle": middle[0] or -1,  # -1: one residual block, no attention
        "transformer_depth_output": [depth for depth in up for _ in range(blocks + 1)],
        "context_dim": sizes["cross_attention_dim"],
        "use_linear_in_transformer": sizes["use_linear_projection"],
        "use_spatial_transformer": True,
        "use_checkpoint": False,
        "legacy": False,
        "adm_in_channels": None,
        "use_temporal_attention": False,
        "use_temporal_resblock": False,
    }


class LandscapeSDLatents(LandscapeLatents):
    """As those of the Flux landscape model."""

    @staticmethod
    def caution(height: int, width: int) -> str:
        return outside(NAME, width, height)


def load_clip() -> comfy.sd.CLIP:
    """One CLIP, as Stable Diffusion has."""
    return comfy.sd.CLIP(
        comfy.supported_models_base.ClipTarget(LandscapeSDTokenizer, _Encoder),
        state_dict=[clip_weights(SD_FOLDER)],
        model_options={
            "dtype": torch.float32,
            "clip_l_model_config": sizes_of(SD_FOLDER, "text_encoder/config", CLIP_SIZES),
        },
    )


class _Words(comfy.sd1_clip.SDTokenizer):
    """One token per word, padded as the model was trained."""

    def __init__(self, embedding_directory: Any = None, tokenizer_data: Any = None) -> None:
        super().__init__(
            str(SD_FOLDER / "tokenizer"),
            embedding_directory=embedding_directory,
            tokenizer_class=WordTokenizer,
            max_length=read_config(SD_FOLDER, "tokenizer/tokenizer_config")["model_max_length"],
        )


class LandscapeSDTokenizer(comfy.sd1_clip.SD1Tokenizer):
    """Stable Diffusion's tokenizer with the landscape models' words."""

    def __init__(self, embedding_directory: Any = None, tokenizer_data: Any = None) -> None:
        super().__init__(embedding_directory, tokenizer_data or {}, tokenizer=_Words)

    def tokenize_with_weights(self, text: str, return_word_ids: bool = False, **options: Any) -> dict[str, Any]:
        """Token ids and weights; logs a warning if a word is unknown."""
        tokens: dict[str, Any] = super().tokenize_with_weights(text, return_word_ids, **options)
        log_if_unknown(self.clip_l.tokenizer, tokens["l"], text)
        return tokens


class _Encoder(comfy.sd1_clip.SD1ClipModel):
    """Stable Diffusion's text encoder with the special tokens of this CLIP."""

    def __init__(self, device: Any = "cpu", dtype: Any = None, model_options: Any = None) -> None:
        super().__init__(device=device, dtype=dtype, model_options=model_options or {})
        ids = read_config(SD_FOLDER, "text_encoder/config")
        self.clip_l.special_tokens = {
            name: ids[f"{key}_token_id"] for name, key in (("start", "bos"), ("end", "eos"), ("pad", "pad"))
        }
