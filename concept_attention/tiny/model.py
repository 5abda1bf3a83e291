"""The landscape models' parts: a real Flux, T5, CLIP and autoencoder, only small; `sd3` has the other architecture.

Head size 128 with axes 16/56/56 is what stock loaders recognise as Flux.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from diffusers import AutoencoderTiny, FluxTransformer2DModel
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import CLIPTextConfig, CLIPTextModel, PreTrainedTokenizerFast, T5Config, T5EncoderModel

from .codec import PATCH, LinearCodec
from .texts import TEXT_TOKENS

JOINT_BLOCKS = 4
SINGLE_BLOCKS = 2
TEXT_WIDTH = 128
POOLED_WIDTH = 64
CLIP_TOKENS = 77
LATENT_CHANNELS = 16
SHIFT = 3.0  # of the sampler's sigmas towards the noise, where the layout is decided

T5_SPECIAL = ("<pad>", "</s>", "<unk>")
CLIP_SPECIAL = ("<|startoftext|>", "<|endoftext|>", "<unk>")


@dataclass
class Parts:
    """The trained modules, one per field."""

    transformer: Any
    t5: T5EncoderModel

    def modules(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def parameters(self) -> dict[str, torch.nn.Parameter]:
        """Every parameter by part and name, such as `t5.shared.weight`."""
        return {f"{part}.{name}": p for part, module in self.modules().items() for name, p in module.named_parameters()}

    @torch.no_grad()
    def fill(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Copy `tensors` into the parameters of the same names; a missing one is a KeyError."""
        for name, parameter in self.parameters().items():
            parameter.copy_(tensors[name])


@dataclass
class FluxParts(Parts):
    """Flux has one CLIP, of which it takes the pooled vector."""

    clip: CLIPTextModel


def build_parts(words: int) -> FluxParts:
    """The transformer and its text encoders for a vocabulary of `words` words, freshly initialised."""
    transformer = FluxTransformer2DModel(
        patch_size=1,
        in_channels=4 * LATENT_CHANNELS,
        num_layers=JOINT_BLOCKS,
        num_single_layers=SINGLE_BLOCKS,
        attention_head_dim=128,
        num_attention_heads=1,
        joint_attention_dim=TEXT_WIDTH,
        pooled_projection_dim=POOLED_WIDTH,
        guidance_embeds=False,
        axes_dims_rope=(16, 56, 56),
    )
    return FluxParts(transformer, build_t5(words), CLIPTextModel(clip_config(words, POOLED_WIDTH)))


def build_t5(words: int) -> T5EncoderModel:
    return T5EncoderModel(
        T5Config(
            vocab_size=words + len(T5_SPECIAL),
            d_model=TEXT_WIDTH,
            d_kv=64,
            d_ff=256,
            num_layers=2,
            num_heads=2,
            dropout_rate=0.0,
            feed_forward_proj="gated-gelu",
            pad_token_id=0,
            eos_token_id=1,
            tie_word_embeddings=False,
        )
    )


def clip_config(words: int, width: int, activation: str = "quick_gelu") -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=words + len(CLIP_SPECIAL),
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=CLIP_TOKENS,
        projection_dim=width,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
        hidden_act=activation,
    )


def build_vae() -> AutoencoderTiny:
    """An autoencoder in TAESD's layout, with an encoder that is linear: four convolutions and nothing between."""
    return AutoencoderTiny(
        latent_channels=LATENT_CHANNELS,
        encoder_block_out_channels=(48,) * 4,
        num_encoder_blocks=(0,) * 4,
        decoder_block_out_channels=(32,) * 4,
        num_decoder_blocks=(3, 3, 2, 1),
        scaling_factor=1.0,
        shift_factor=0.0,
    )


@torch.no_grad()
def set_linear_encoder(vae: AutoencoderTiny, codec: LinearCodec) -> None:
    """Write the linear codec into the autoencoder's encoder, exactly: 2x2 gathers down to 8x8 patches, projected.

    Three stride-2 convolutions see inputs 2i-1, 2i, 2i+1 at output i; taps 1 and 2 are the two that halve the grid.
    """
    first, *halving, last = vae.encoder.layers
    for parameter in vae.encoder.parameters():
        parameter.zero_()
    for channel in range(3):
        first.weight[channel, channel, 1, 1] = 1
    order = [(0, 0, c) for c in range(3)]  # what each channel holds: row and column inside the patch, colour
    for size, convolution in zip((1, 2), halving, strict=False):
        gathered: list[tuple[int, int, int]] = []
        for dy in range(2):
            for dx in range(2):
                for source, (row, column, color) in enumerate(order):
                    convolution.weight[len(gathered), source, 1 + dy, 1 + dx] = 1
                    gathered.append((row + dy * size, column + dx * size, color))
        order = gathered
    # The encoder sees pixels in 0-1, the codec in -1 to 1.
    projection = torch.from_numpy(codec.basis * codec.scale).reshape(PATCH, PATCH, 3, LATENT_CHANNELS)
    for dy in range(2):
        for dx in range(2):
            for source, (row, column, color) in enumerate(order):
                halving[2].weight[:LATENT_CHANNELS, source, 1 + dy, 1 + dx] = (
                    2 * projection[row + 4 * dy, column + 4 * dx, color]
                )
    for channel in range(LATENT_CHANNELS):
        last.weight[channel, channel, 1, 1] = 1
    last.bias.copy_(-(torch.from_numpy(codec.mean) + 1) @ projection.reshape(-1, LATENT_CHANNELS))


def _word_tokenizer(special: Sequence[str], vocabulary: Sequence[str], template: str) -> Tokenizer:
    ids = {token: index for index, token in enumerate((*special, *vocabulary))}
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token="<unk>"))  # noqa: S106 - no password
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    used = [token for token in special if token in template]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=template, special_tokens=[(token, ids[token]) for token in used]
    )
    return tokenizer


def build_t5_tokenizer(vocabulary: Sequence[str]) -> PreTrainedTokenizerFast:
    """One token per word, `</s>` at the end, like T5's."""
    return PreTrainedTokenizerFast(
        tokenizer_object=_word_tokenizer(T5_SPECIAL, vocabulary, "$A </s>"),
        pad_token="<pad>",  # noqa: S106
        eos_token="</s>",  # noqa: S106
        unk_token="<unk>",  # noqa: S106
        model_max_length=TEXT_TOKENS,
    )


def build_clip_tokenizer(vocabulary: Sequence[str], length: int = CLIP_TOKENS) -> PreTrainedTokenizerFast:
    """One token per word between start and end of text, padded with the end to `length` tokens, like CLIP's."""
    return PreTrainedTokenizerFast(
        tokenizer_object=_word_tokenizer(CLIP_SPECIAL, vocabulary, "<|startoftext|> $A <|endoftext|>"),
        bos_token="<|startoftext|>",  # noqa: S106
        eos_token="<|endoftext|>",  # noqa: S106
        pad_token="<|endoftext|>",  # noqa: S106
        unk_token="<unk>",  # noqa: S106
        model_max_length=length,
    )
