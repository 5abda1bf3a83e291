"""Loading of the embedded landscape model that makes clips, `tiny-cogvideox`, as ComfyUI's own MODEL, CLIP and VAE.

As in `loader`, sizes that ComfyUI's loaders take for granted are given to its classes directly. Unlike in the full-size
models every frame has a latent frame of its own.
"""

from __future__ import annotations

from typing import Any

import comfy.latent_formats
import comfy.model_management
import comfy.model_sampling
import comfy.sd
import comfy.sd1_clip
import comfy.supported_models_base
import torch
from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ...embedded import COGVIDEOX_FOLDER, FEWEST_FRAMES, FLUX_FOLDER, outside
from ...errors import UserError
from ..models.codec import CODEC, read_codec
from .files import T5_SIZES, WordTokenizer, colours_of, log_if_unknown, read_config, read_weights, sizes_of
from .taesd import taesd_weights

NAME = "tiny-cogvideox"
# Diffusers' names of the transformer's layers, and ComfyUI's.
LAYERS = {
    "transformer_blocks.": "blocks.",
    ".attn1.to_out.0.": ".attn_out.",
    ".attn1.to_": ".",
    ".attn1.": ".",
    ".ff.net.0.proj.": ".ff_proj.",
    ".ff.net.2.": ".ff_out.",
    "time_embedding.linear": "time_embedding_linear",
}


def load_landscape_video() -> tuple[ModelPatcher, comfy.sd.CLIP, comfy.sd.VAE]:
    """Load the embedded landscape model that makes clips, on whatever devices ComfyUI loads models to.

    Returns:
        MODEL, CLIP and VAE, as from a checkpoint loader. Every call loads them again.

    Raises:
        UserError: if this ComfyUI has no CogVideoX.
    """
    if not hasattr(comfy.latent_formats, "CogVideoX"):
        raise UserError(f"This ComfyUI has no CogVideoX, which {NAME} is a small one of. Update ComfyUI.")
    return load_model(), load_clip(), _vae_class()()


def load_model(disable_dynamic: bool = False) -> ModelPatcher:
    """The transformer; LATENTs are (B, 16, T, H / 8, W / 8) with one T for each frame."""
    weights = {}
    for name, tensor in read_weights(COGVIDEOX_FOLDER, "transformer/diffusion_pytorch_model").items():
        for theirs, ours in LAYERS.items():
            name = name.replace(theirs, ours)
        weights[name] = tensor
    model = comfy.sd.load_diffusion_model_state_dict(
        weights, model_options={"dtype": torch.float32}, disable_dynamic=disable_dynamic
    )
    # Positions are counted from 0 in steps of 1, as diffusers counts them at the size that the model was trained on.
    model.model.diffusion_model.spatial_interpolation_scale = 1.0
    model.model.diffusion_model.temporal_compression_ratio = 1
    model.model.latent_format = _latents_class()()
    # ComfyUI's own for CogVideoX hands the model latents whose noise is not scaled, which this one never saw.
    model.model.model_sampling = _Sampling(model.model.model_config)
    model.cached_patcher_init = (load_model, ())
    return model


class _Sampling(comfy.model_sampling.ModelSamplingDiscrete, comfy.model_sampling.V_PREDICTION):
    """Velocity prediction on the schedule that ComfyUI knows for CogVideoX, with unit variance at the model's input."""


def load_clip() -> comfy.sd.CLIP:
    """T5 alone, as CogVideoX has it."""
    from comfy.text_encoders.cogvideo import CogVideoXT5XXL

    return comfy.sd.CLIP(
        comfy.supported_models_base.ClipTarget(LandscapeVideoTokenizer, CogVideoXT5XXL),
        state_dict=[read_weights(COGVIDEOX_FOLDER, "text_encoder/model")],
        model_options={
            "dtype": torch.float32,
            "t5xxl_model_config": sizes_of(COGVIDEOX_FOLDER, "text_encoder/config", T5_SIZES),
        },
    )


class _WordsOfT5(comfy.sd1_clip.SDTokenizer):
    """One token per word, padded as the model was trained."""

    def __init__(self, embedding_directory: Any = None, tokenizer_data: Any = None) -> None:
        super().__init__(
            str(COGVIDEOX_FOLDER / "tokenizer"),
            embedding_directory=embedding_directory,
            embedding_key="t5xxl",
            tokenizer_class=WordTokenizer,
            has_start_token=False,
            pad_with_end=False,
            pad_to_max_length=False,
            max_length=99999999,
            min_length=read_config(COGVIDEOX_FOLDER, "transformer/config")["max_text_seq_length"],
        )


class LandscapeVideoTokenizer(comfy.sd1_clip.SD1Tokenizer):
    """The tokenizer of CogVideoX's T5 with the landscape model's words."""

    def __init__(self, embedding_directory: Any = None, tokenizer_data: Any = None) -> None:
        super().__init__(embedding_directory, tokenizer_data or {}, clip_name="t5xxl", tokenizer=_WordsOfT5)

    def tokenize_with_weights(self, text: str, return_word_ids: bool = False, **options: Any) -> dict[str, Any]:
        """Token ids and weights; logs a warning if a word is unknown."""
        tokens: dict[str, Any] = super().tokenize_with_weights(text, return_word_ids, **options)
        log_if_unknown(getattr(self, self.clip).tokenizer, tokens["t5xxl"], text)
        return tokens


def _latents_class() -> type:
    """The latent format; a class of its own only where ComfyUI has CogVideoX's."""

    class LandscapeVideoLatents(comfy.latent_formats.CogVideoX):
        temporal_downscale_ratio = 1

        def __init__(self) -> None:
            super().__init__()
            self.scale_factor = 1.0
            codec = read_codec(COGVIDEOX_FOLDER / CODEC)
            self.latent_rgb_factors, self.latent_rgb_factors_bias = colours_of(codec)

        @staticmethod
        def caution(height: int, width: int) -> str:
            return outside(NAME, width, height, FEWEST_FRAMES[NAME])

    return LandscapeVideoLatents


def _vae_class() -> type[comfy.sd.VAE]:
    from comfy.ldm.cogvideo.vae import AutoencoderKLCogVideoX

    class LandscapeVideoVAE(comfy.sd.VAE):
        """A VAE around a small autoencoder of CogVideoX's; ComfyUI's own only builds it at full size."""

        def __init__(self) -> None:
            super().__init__(sd=_any_vae_weights(), dtype=torch.float32)
            config = read_config(COGVIDEOX_FOLDER, "vae/config")
            network = AutoencoderKLCogVideoX(
                block_out_channels=tuple(config["block_out_channels"]),
                latent_channels=config["latent_channels"],
                layers_per_block=config["layers_per_block"],
                eps=config["norm_eps"],
                groups=config["norm_num_groups"],
                temporal_compression_ratio=config["temporal_compression_ratio"],
            )
            self.first_stage_model = network.eval().to(self.vae_dtype).requires_grad_(False)
            comfy.model_management.archive_model_dtypes(self.first_stage_model)
            before: Any = self.patcher
            self.patcher: Any = type(before)(
                self.first_stage_model, load_device=before.load_device, offload_device=before.offload_device
            )
            weights = read_weights(COGVIDEOX_FOLDER, "vae/diffusion_pytorch_model")
            self.first_stage_model.load_state_dict(weights, assign=self.patcher.is_dynamic())
            self.size = None  # is counted anew
            self.model_size()
            self.latent_dim, self.latent_channels = 3, config["latent_channels"]
            self.upscale_ratio = self.downscale_ratio = (lambda frames: frames, 8, 8)
            self.upscale_index_formula = self.downscale_index_formula = (1, 8, 8)
            self.process_input = lambda image: image * 2.0 - 1.0
            self.process_output = lambda image: image.add_(1.0).div_(2.0).clamp_(0.0, 1.0)
            self.memory_used_encode = self.memory_used_decode = _memory

    return LandscapeVideoVAE


def _memory(shape: Any, dtype: Any) -> int:
    """Bytes that a clip of this shape needs, with room: 48 channels of every pixel, three times."""
    return 3 * 48 * 64 * shape[-3] * shape[-2] * shape[-1] * comfy.model_management.dtype_size(dtype)


def _any_vae_weights() -> dict[str, Tensor]:
    """Weights of a VAE that ComfyUI knows, to let it set up what all VAEs have."""
    return taesd_weights(read_weights(FLUX_FOLDER, "vae/diffusion_pytorch_model"), 1.0, 0.0)
