"""Loading of the embedded landscape model `tiny-sd3` as ComfyUI's own MODEL, CLIP and VAE.

As in `loader`, sizes that ComfyUI's loaders take for granted are given to its classes directly.
"""

from __future__ import annotations

from typing import Any

import comfy.latent_formats
import comfy.model_detection
import comfy.model_management
import comfy.model_patcher
import comfy.sd
import comfy.sd1_clip
import comfy.supported_models_base
import comfy.text_encoders.sd3_clip
import comfy.utils
import torch
from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ...embedded import SD3_FOLDER, outside
from ..models.codec import CODEC, read_codec
from .files import T5_SIZES, WordTokenizer, colours_of, log_if_unknown, read_config, read_weights, sizes_of
from .loader import CLIP_SIZES, CLIP_WORDS
from .taesd import taesd_weights

NAME = "tiny-sd3"


def load_landscape_sd3() -> tuple[ModelPatcher, comfy.sd.CLIP, comfy.sd.VAE]:
    """Load the embedded landscape model with Stable Diffusion 3's architecture.

    Returns:
        MODEL (with the shift of its own scheduler), CLIP and VAE, as from a checkpoint loader. Every call loads them
        again.
    """
    return load_model(), load_clip(), load_vae()


def load_model(disable_dynamic: bool = False) -> ModelPatcher:
    """The transformer.

    Follows `load_diffusion_model_state_dict` of comfy/sd.py, which expects as many blocks as heads.
    """
    weights, blocks = _transformer_weights()
    config = comfy.model_detection.model_config_from_unet(weights, "")
    config.unet_config["num_blocks"] = blocks
    config.set_inference_dtype(torch.float32, None)
    model = config.get_model(weights, "")
    offload_device = comfy.model_management.unet_offload_device()
    patcher_class = ModelPatcher if disable_dynamic else comfy.model_patcher.CoreModelPatcher
    patcher = patcher_class(model, load_device=comfy.model_management.get_torch_device(), offload_device=offload_device)
    if not comfy.model_management.is_device_cpu(offload_device):
        model.to(offload_device)
    model.load_model_weights(weights, "", assign=patcher.is_dynamic())
    shift = read_config(SD3_FOLDER, "scheduler/scheduler_config")["shift"]
    model.model_sampling.set_parameters(shift=shift)
    model.latent_format = LandscapeSD3Latents()
    patcher.cached_patcher_init = (load_model, ())
    return patcher


def _transformer_weights() -> tuple[dict[str, Tensor], int]:
    """Weights with ComfyUI's names, and how many blocks there are."""
    sizes = read_config(SD3_FOLDER, "transformer/config")
    heads, blocks = sizes["num_attention_heads"], sizes["num_layers"]
    weights = read_weights(SD3_FOLDER, "transformer/diffusion_pytorch_model")
    weights = comfy.model_detection.convert_diffusers_mmdit(weights, "")
    # Scale and shift of the last block's text are the other way round. ComfyUI takes another block for the last one.
    for block in (heads - 1, blocks - 1):
        for parameter in ("weight", "bias"):
            name = f"joint_blocks.{block}.context_block.adaLN_modulation.1.{parameter}"
            weights[name] = comfy.utils.swap_scale_shift(weights[name])
    return weights, blocks


def load_clip() -> comfy.sd.CLIP:
    """T5 and both CLIPs together, as Stable Diffusion 3 has them."""
    return comfy.sd.CLIP(
        comfy.supported_models_base.ClipTarget(LandscapeSD3Tokenizer, LandscapeSD3Encoders),
        state_dict=[
            _clip_weights("text_encoder"),
            _clip_weights("text_encoder_2"),
            read_weights(SD3_FOLDER, "text_encoder_3/model"),
        ],
        model_options={
            "dtype": torch.float32,
            "t5xxl_model_config": sizes_of(SD3_FOLDER, "text_encoder_3/config", T5_SIZES),
            "clip_l_model_config": _clip_sizes("text_encoder"),
            "clip_g_model_config": _clip_sizes("text_encoder_2"),
        },
    )


def load_vae() -> comfy.sd.VAE:
    """The autoencoder, between images and the LATENTs of Stable Diffusion 3; the model's z is the decoder's input."""
    sd3 = comfy.latent_formats.SD3()
    weights = read_weights(SD3_FOLDER, "vae/diffusion_pytorch_model")
    vae = comfy.sd.VAE(sd=taesd_weights(weights, sd3.scale_factor, sd3.shift_factor), dtype=torch.float32)
    vae.first_stage_model.requires_grad_(False)  # for callers outside ComfyUI's executor, which forbids gradients
    return vae


class LandscapeSD3Latents(comfy.latent_formats.SD3):
    """The LATENTs of Stable Diffusion 3; the preview shows the mean colour of each latent pixel's patch."""

    def __init__(self) -> None:
        super().__init__()
        self.latent_rgb_factors, self.latent_rgb_factors_bias = colours_of(read_codec(SD3_FOLDER / CODEC))
        self.taesd_decoder_name = None

    @staticmethod
    def caution(height: int, width: int) -> str:
        """What to know about images of so many pixels that the model was not trained on, else ""; see `record`."""
        return outside(NAME, width, height)


class LandscapeSD3Tokenizer(comfy.text_encoders.sd3_clip.SD3Tokenizer):
    """One token per word, for each encoder as many as the model was trained with."""

    def __init__(self, embedding_directory: Any = None, tokenizer_data: Any = None) -> None:
        options: dict[str, Any] = {"embedding_directory": embedding_directory, "tokenizer_class": WordTokenizer}
        self.clip_l, self.clip_g = (
            comfy.sd1_clip.SDTokenizer(str(SD3_FOLDER / part), max_length=_clip_tokens(), embedding_key=key, **options)
            for part, key in (("tokenizer", "clip_l"), ("tokenizer_2", "clip_g"))
        )
        self.t5xxl = comfy.sd1_clip.SDTokenizer(
            str(SD3_FOLDER / "tokenizer_3"),
            embedding_key="t5xxl",
            has_start_token=False,
            pad_with_end=False,
            pad_to_max_length=False,
            max_length=99999999,
            min_length=read_config(SD3_FOLDER, "tokenizer_3/tokenizer_config")["model_max_length"],
            **options,
        )

    def tokenize_with_weights(self, text: str, return_word_ids: bool = False, **options: Any) -> dict[str, Any]:
        """Token ids and weights by encoder; logs a warning if a word is unknown."""
        tokens: dict[str, Any] = super().tokenize_with_weights(text, return_word_ids, **options)
        log_if_unknown(self.t5xxl.tokenizer, tokens["t5xxl"], text)
        return tokens


class LandscapeSD3Encoders(comfy.text_encoders.sd3_clip.SD3ClipModel):
    """Stable Diffusion 3's three encoders, whose class has the sizes of the full-size ones written in it."""

    def __init__(self, device: Any = "cpu", dtype: Any = None, model_options: Any = None) -> None:
        torch.nn.Module.__init__(self)
        options = {"device": device, "dtype": dtype}
        self.clip_l, self.clip_g = (
            comfy.sd1_clip.SDClipModel(
                layer="hidden",
                layer_idx=0,  # the last but one of two
                layer_norm_hidden_state=False,
                special_tokens=_special_tokens(folder),
                model_options={**(model_options or {}), "model_name": name},
                **options,
            )
            for name, folder in (("clip_l", "text_encoder"), ("clip_g", "text_encoder_2"))
        )
        self.t5xxl = comfy.text_encoders.sd3_clip.T5XXLModel(model_options=model_options or {}, **options)
        self.dtypes = {dtype}

    def encode_token_weights(self, token_weight_pairs: Any) -> tuple[Tensor, Tensor, dict[str, Any]]:
        """The CLIPs' tokens side by side, padded to T5's width, then T5's; the pooled vectors."""
        clip_l, pooled_l = self.clip_l.encode_token_weights(token_weight_pairs["l"])
        clip_g, pooled_g = self.clip_g.encode_token_weights(token_weight_pairs["g"])
        t5 = self.t5xxl.encode_token_weights(token_weight_pairs["t5xxl"])[0]
        count = min(clip_l.shape[1], clip_g.shape[1])
        both = torch.cat([clip_l[:, :count], clip_g[:, :count]], dim=-1)
        both = torch.nn.functional.pad(both, (0, t5.shape[-1] - both.shape[-1]))
        return torch.cat([both, t5], dim=-2), torch.cat([pooled_l, pooled_g], dim=-1), {}

    def load_sd(self, sd: dict[str, Tensor]) -> Any:
        """Load the weights of the encoder that they belong to."""
        table = sd.get("text_model.embeddings.token_embedding.weight")
        if table is None:
            return self.t5xxl.load_sd(sd)
        width = self.clip_l.transformer.get_input_embeddings().weight.shape[1]
        return (self.clip_l if table.shape[1] == width else self.clip_g).load_sd(sd)


def _special_tokens(encoder: str) -> dict[str, int]:
    ids = read_config(SD3_FOLDER, f"{encoder}/config")
    return {name: ids[f"{key}_token_id"] for name, key in (("start", "bos"), ("end", "eos"), ("pad", "pad"))}


def _clip_tokens() -> int:
    """As many as a CLIP reads of every prompt; those of the full-size model read 77."""
    return int(read_config(SD3_FOLDER, "tokenizer/tokenizer_config")["model_max_length"])


def _clip_sizes(encoder: str) -> dict[str, Any]:
    sizes = sizes_of(SD3_FOLDER, f"{encoder}/config", (*CLIP_SIZES, "hidden_act"))
    return {**sizes, "max_position_embeddings": _clip_tokens()}


def _clip_weights(encoder: str) -> dict[str, Tensor]:
    """A CLIP's weights with the shapes that ComfyUI expects."""
    weights = read_weights(SD3_FOLDER, f"{encoder}/model")
    words, positions = (f"text_model.embeddings.{name}_embedding.weight" for name in ("token", "position"))
    table = weights[words]
    weights[words] = torch.cat([table, table.new_zeros(CLIP_WORDS - len(table), table.shape[1])])
    weights[positions] = weights[positions][: _clip_tokens()]
    return weights
