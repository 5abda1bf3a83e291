"""The landscape models' parts: a real Flux, T5 and CLIP, only small; `sd3` and `cogvideox` have other architectures.

Head size 128 with axes 16/56/56 is what stock loaders recognise as Flux.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from diffusers import FluxTransformer2DModel
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import CLIPTextConfig, CLIPTextModel, PreTrainedTokenizerFast, T5Config, T5EncoderModel

from .codec import CHANNELS
from .texts import TEXT_TOKENS

JOINT_BLOCKS = 4
SINGLE_BLOCKS = 6
TEXT_WIDTH = 128
POOLED_WIDTH = 64
CLIP_TOKENS = 77
SHIFT = 6.0  # of the sampler's sigmas towards the noise, where the layout is decided

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
        in_channels=4 * CHANNELS,
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
