"""Scores of every image token against every concept, and the published variants (modes) of them."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import torch
import torch.nn.functional as F
from einops import einsum
from torch import Tensor

from .choices import MODE_NAMES, Reading, check_choice

Vectors = Literal["raw", "linear", "l2"]
Order = Literal["softmax_then_mean", "mean_then_softmax"]
Averaged = Literal["share", "score"]  # what a mean over steps was taken of

_CHUNK_ELEMENTS = 2**22  # image features held in float32 at a time: 16 MiB


@dataclass(frozen=True)
class Mode:
    """How scores are made and become shares; each mode is named after what it reproduces or reads.

    Attributes:
        name: key in `MODES`.
        vectors: normalisation of the concept vectors before the dot product.
        order: whether the softmax over concepts comes before or after the mean over layers and steps.
        temperature: the scores are divided by it before the softmax.
        padded_tokens: length to which the reference pads the concepts in the softmax; 0 is no padding. Padding tokens
            take a part of every image token, so the concepts' shares add up to less than 1.
        reading: what the scores are; those of `concept` are dot products with the concept vectors, the others are made
            by `text_attention` and have no vectors.
    """

    name: str
    vectors: Vectors
    order: Order
    temperature: float
    padded_tokens: int = 0
    reading: Reading = "concept"


MODES: Mapping[str, Mode] = MappingProxyType(
    {
        mode.name: mode
        for mode in (
            Mode("paper", "linear", "softmax_then_mean", 1.0),
            Mode("flux", "raw", "softmax_then_mean", 1.0),
            Mode("flux2", "raw", "mean_then_softmax", 1000.0),
            Mode("sd3", "l2", "softmax_then_mean", 1.0),
            Mode("cogvideox", "raw", "softmax_then_mean", 1.0, padded_tokens=226),
            Mode("cross", "raw", "softmax_then_mean", 1.0, reading="cross"),
            Mode("gram", "raw", "softmax_then_mean", 0.1, reading="gram"),
        )
    }
)

# Architectures whose `auto` is their own reference. CogVideoX's is not: with five concepts, 221 of the 226 tokens in
# its softmax are padding, so that all shares together may be a few percent, of which no mask can be made.
_OWN_MODE = ("flux", "flux2", "sd3")


def resolve_mode(name: str, architecture: str, reading: Reading = "concept") -> Mode:
    """The mode called `name`; "auto" is one in which shares add up to 1.

    That is the one of the architecture's own reference, or `flux` if it has none, and for CogVideoX; and `cross` for
    models in which concepts cannot ride, whose own `reading` that is.

    Raises:
        UserError: if there is no such mode.
    """
    check_choice("Mode", name, MODE_NAMES)
    if name == "auto" and reading != "concept":
        return MODES[reading]
    if name == "auto":
        return MODES[architecture if architecture in _OWN_MODE else "flux"]
    return MODES[name]


def normalise_concepts(concept_out: Tensor, vectors: Vectors) -> Tensor:
    """Concept vectors as the dot product takes them.

    - `raw`: unchanged.
    - `linear`: per feature over the concepts, `(c - min) / sum(c - min)`; a feature in which all concepts
      agree becomes 0. So a single concept becomes 0 everywhere: there is nothing to compare it with.
    - `l2`: every concept vector divided by its length; a zero vector stays zero.

    Args:
        concept_out: attention outputs of the concepts, (B, C, D), any float dtype.
        vectors: the normalisation.

    Returns:
        Vectors, (B, C, D), float32.

    Raises:
        ValueError: if there is no such normalisation.

    Source: `linear` gives the tables of arXiv:2502.04320; `l2` is the authors' SD3 code.
    """
    concepts = concept_out.float()
    if vectors == "raw":
        return concepts
    if vectors == "l2":
        return F.normalize(concepts, dim=-1)
    if vectors == "linear":
        spread = concepts - concepts.amin(dim=-2, keepdim=True)
        total = spread.sum(dim=-2, keepdim=True)
        return spread / total.masked_fill(total == 0, 1.0)
    raise ValueError(f'Normalisation "{vectors}" does not exist. Choose one of raw, linear, l2.')


def score_concepts(image_out: Tensor, concept_out: Tensor, vectors: Vectors = "raw") -> Tensor:
    """Score every image token against every concept.

    Args:
        image_out: attention outputs of the image tokens, (B, N, D), any float dtype.
        concept_out: attention outputs of the concepts, (B, C, D), any float dtype.
        vectors: normalisation of the concept vectors, see `normalise_concepts`.

    Returns:
        Dot products, (B, C, N), float32, accumulated in float32. Differentiable. Without gradients the extra
        memory is some 16 MiB however large the image is.

    Raises:
        ValueError: if B or D differ.

    Convention: both before the output projection; D = heads * head_dim; N row-major over the token grid.
    Source: arXiv:2502.04320, saliency in the attention output space.

    >>> image_out = torch.tensor([[[1.0, 0.0], [0.0, 1.0], [3.0, 4.0]]])  # three tokens
    >>> concept_out = torch.tensor([[[2.0, 0.0], [3.0, 4.0]]])  # two concepts
    >>> score_concepts(image_out, concept_out).tolist()
    [[[2.0, 0.0, 6.0], [3.0, 4.0, 25.0]]]
    >>> score_concepts(image_out, concept_out, "l2")[0, 1].tolist()
    [0.6000000238418579, 0.800000011920929, 5.0]
    """
    image_shape, concept_shape = tuple(image_out.shape), tuple(concept_out.shape)
    if not (
        len(image_shape) == len(concept_shape) == 3
        and (image_shape[0], image_shape[2]) == (concept_shape[0], concept_shape[2])
    ):
        raise ValueError(
            "image_out (B, N, D) and concept_out (B, C, D) must have the same B and D, "
            f"got {image_shape} and {concept_shape}."
        )
    concepts = normalise_concepts(concept_out, vectors)
    tokens = max(1, _CHUNK_ELEMENTS // max(1, image_shape[0] * image_shape[2]))
    with float32_products(image_out.device):
        return torch.cat(
            [einsum(concepts, chunk.float(), "b c d, b n d -> b c n") for chunk in image_out.split(tokens, dim=1)],
            dim=-1,
        )


def float32_products(device: torch.device) -> AbstractContextManager[object]:
    """Keep an autocast around the model from rounding the products."""
    if torch.amp.is_autocast_available(device.type):
        return torch.autocast(device.type, enabled=False)
    return nullcontext()
