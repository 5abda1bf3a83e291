"""Loading of the embedded landscape model as ComfyUI's own MODEL, CLIP and VAE.

ComfyUI's loaders expect full-size files. What differs here (the sizes of the encoders, a tokenizer of words, a smaller
autoencoder) is given to its classes directly. Everything is computed in float32, as in the diffusers host, so both give
the same numbers.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import comfy.latent_formats
import comfy.sd
import comfy.sd1_clip
import comfy.supported_models_base
import comfy.text_encoders.flux
import torch
from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ...embedded import FLUX_FOLDER, outside
from ..models.codec import CODEC, read_codec
from .files import T5_SIZES, WordTokenizer, colours_of, log_if_unknown, read_config, read_weights, sizes_of
from .taesd import taesd_weights

CLIP_WORDS = 49408  # rows of ComfyUI's CLIP embedding, which no configuration changes
CLIP_SIZES = (
    "hidden_size",
    "intermediate_size",
    "num_attention_heads",
    "num_hidden_layers",
    "projection_dim",
    "max_position_embeddings",
    "eos_token_id",
)


def load_landscape() -> tuple[ModelPatcher, comfy.sd.CLIP, comfy.sd.VAE]:
    """Load the embedded landscape model, on whatever devices ComfyUI loads models to.

    Returns:
        MODEL (with the shift of its own scheduler), CLIP and VAE, as from a checkpoint loader. Every call loads them
        again.
    """
    return load_model(), load_clip(), load_vae()


def load_model(disable_dynamic: bool = False) -> ModelPatcher:
    """The transformer. Its LATENTs are those of Flux, so it also works with parts that other nodes loaded."""
    weights = read_weights(FLUX_FOLDER, "transformer/diffusion_pytorch_model")
    model = comfy.sd.load_diffusion_model_state_dict(
        weights, model_options={"dtype": torch.float32}, disable_dynamic=disable_dynamic
    )
    # The class is Flux.1-schnell's, as there is no guidance embedding, but the schedule is shifted.
    model.model.model_sampling.set_parameters(
        shift=read_config(FLUX_FOLDER, "scheduler/scheduler_config")["shift"], multiplier=1.0
    )
    model.model.latent_format = LandscapeLatents()
    model.cached_patcher_init = (load_model, ())  # how ComfyUI makes a copy for compilation or another GPU
    return model


def load_clip() -> comfy.sd.CLIP:
    """T5 and CLIP-L together, as Flux has them."""
    return comfy.sd.CLIP(
        comfy.supported_models_base.ClipTarget(LandscapeTokenizer, LandscapeEncoders),
        state_dict=[clip_weights(FLUX_FOLDER), read_weights(FLUX_FOLDER, "text_encoder_2/model")],
        model_options={
            "dtype": torch.float32,
            "t5xxl_model_config": sizes_of(FLUX_FOLDER, "text_encoder_2/config", T5_SIZES),
            "clip_l_model_config": sizes_of(FLUX_FOLDER, "text_encoder/config", CLIP_SIZES),
        },
    )


def load_vae() -> comfy.sd.VAE:
    """The autoencoder, between images and the LATENTs of Flux."""
    config, flux = read_config(FLUX_FOLDER, "vae/config"), comfy.latent_formats.Flux()
    # The model's z is (LATENT - flux.shift_factor) * flux.scale_factor; the decoder reads z / own scale + own shift.
    scale = flux.scale_factor / config["scaling_factor"]
    shift = flux.shift_factor - config["shift_factor"] / scale
    weights = taesd_weights(read_weights(FLUX_FOLDER, "vae/diffusion_pytorch_model"), scale, shift)
    vae = comfy.sd.VAE(sd=weights, dtype=torch.float32)
    vae.first_stage_model.requires_grad_(False)  # for callers outside ComfyUI's executor, which forbids gradients
    return vae


class LandscapeLatents(comfy.latent_formats.Flux):
    """Flux's LATENTs; the preview shows the mean colour of each latent pixel's patch."""

    def __init__(self) -> None:
        super().__init__()
        self.latent_rgb_factors, self.latent_rgb_factors_bias = colours_of(read_codec(FLUX_FOLDER / CODEC))
        self.taesd_decoder_name = None

    @staticmethod
    def caution(height: int, width: int) -> str:
        """What to know about images of so many pixels that the model was not trained on, else ""; see `record`."""
        return outside("tiny", width, height)


class LandscapeTokenizer(comfy.text_encoders.flux.FluxTokenizer):
    """One token per word. Prompts may have weights, as in ComfyUI generally."""

    def __init__(self, embedding_directory: Any = None, tokenizer_data: Any = None) -> None:
        self.clip_l = comfy.sd1_clip.SDTokenizer(
            str(FLUX_FOLDER / "tokenizer"), embedding_directory=embedding_directory, tokenizer_class=WordTokenizer
        )
        self.t5xxl = comfy.sd1_clip.SDTokenizer(
            str(FLUX_FOLDER / "tokenizer_2"),
            embedding_directory=embedding_directory,
            embedding_key="t5xxl",
            tokenizer_class=WordTokenizer,
            has_start_token=False,
            pad_with_end=False,
            pad_to_max_length=False,
            max_length=99999999,  # as in Flux's tokenizer: longer prompts are read whole
            min_length=read_config(FLUX_FOLDER, "tokenizer_2/tokenizer_config")["model_max_length"],
        )

    def tokenize_with_weights(self, text: str, return_word_ids: bool = False, **options: Any) -> dict[str, Any]:
        """Token ids and weights by encoder; logs a warning if a word is unknown."""
        tokens: dict[str, Any] = super().tokenize_with_weights(text, return_word_ids, **options)
        log_if_unknown(self.t5xxl.tokenizer, tokens["t5xxl"], text)
        return tokens


class LandscapeEncoders(comfy.text_encoders.flux.FluxClipModel):
    """Flux's pair of encoders, with the special tokens of this CLIP, which mark the pooled vector."""

    def __init__(self, device: Any = "cpu", dtype: Any = None, model_options: Any = None) -> None:
        super().__init__(dtype_t5=dtype, device=device, dtype=dtype, model_options=model_options or {})
        ids = read_config(FLUX_FOLDER, "text_encoder/config")
        self.clip_l.special_tokens = {
            name: ids[f"{key}_token_id"] for name, key in (("start", "bos"), ("end", "eos"), ("pad", "pad"))
        }


def clip_weights(folder: Path) -> dict[str, Tensor]:
    """CLIP-L's weights of a landscape model with the names and shapes that ComfyUI expects."""
    prefix = "text_model."
    weights = read_weights(folder, "text_encoder/model")
    weights = {name if name.startswith(prefix) else prefix + name: tensor for name, tensor in weights.items()}
    name = f"{prefix}embeddings.token_embedding.weight"
    table = weights[name]
    weights[name] = torch.cat([table, table.new_zeros(CLIP_WORDS - len(table), table.shape[1])])
    weights["text_projection.weight"] = torch.eye(table.shape[1])  # the pooled vector is read before it
    return weights
