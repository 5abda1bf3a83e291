"""What both embedded models are loaded with in ComfyUI: their files, and a tokenizer of words."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import comfy.utils
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from ...hosts.unknown_words import log_unknown_words
from ..models.codec import LinearCodec

T5_SIZES = ("d_model", "d_ff", "d_kv", "num_heads", "num_layers", "vocab_size")


def read_weights(folder: Path, name: str) -> dict[str, Tensor]:
    """Weights in float32; with dynamic memory ComfyUI computes in the data type it is given."""
    weights = comfy.utils.load_torch_file(str(folder / f"{name}.safetensors"), safe_load=True)
    return {key: tensor.float() for key, tensor in weights.items()}


def read_config(folder: Path, name: str) -> dict[str, Any]:
    return dict(json.loads((folder / f"{name}.json").read_text(encoding="utf-8")))


def sizes_of(folder: Path, name: str, keys: tuple[str, ...]) -> dict[str, Any]:
    """Some values of a configuration."""
    config = read_config(folder, name)
    return {key: config[key] for key in keys}


def colours_of(codec: LinearCodec) -> tuple[list[list[float]], list[float]]:
    """Factors and bias of a latent preview: the mean colour of each latent pixel's patch."""
    pixels = codec.basis.reshape(-1, 3, codec.basis.shape[1]) / codec.scale
    return pixels.mean(0).T.tolist(), codec.mean.reshape(-1, 3).mean(0).tolist()


def log_if_unknown(words: Any, batches: Iterable[Iterable[Any]], text: str) -> None:
    """Log a warning if a text has words that a tokenizer does not know."""
    if any(token[0] == words.unk_token_id for batch in batches for token in batch):
        log_unknown_words(words, text)


class WordTokenizer:
    """Stands in for a tokenizer class in ComfyUI's tokenizer; every version of transformers reads this one file."""

    @staticmethod
    def from_pretrained(folder: str) -> PreTrainedTokenizerFast:
        return PreTrainedTokenizerFast(
            tokenizer_file=str(Path(folder) / "tokenizer.json"),
            unk_token="<unk>",  # noqa: S106 - no password
        )
