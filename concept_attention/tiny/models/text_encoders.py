"""The landscape models' text encoders and tokenizers: T5 and CLIP, only small, with one token per word."""

from __future__ import annotations

from collections.abc import Sequence

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import CLIPTextConfig, PreTrainedTokenizerFast, T5Config, T5EncoderModel

from .texts import TEXT_TOKENS

TEXT_WIDTH = 128
CLIP_TOKENS = 77
T5_SPECIAL = ("<pad>", "</s>", "<unk>")
CLIP_SPECIAL = ("<|startoftext|>", "<|endoftext|>", "<unk>")


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
