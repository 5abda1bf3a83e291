"""Concepts and image tokens of an existing image as vectors, by the name of the authors' function.

Their base class of segmentation models is not here: `make_masks` with the method `mean` makes its masks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from einops import rearrange
from PIL.Image import Image
from torch import Tensor

from ..choices import check_choice
from ..hosts.diffusers.analysis import analyze
from ..scores import normalise_concepts
from ..vectors import SPACES, KeptVectors
from .flux import ConceptAttentionFluxPipeline, FluxGenerator
from .wanted import literal_concepts

TARGET_SPACES = {"output": SPACES["output"], "value": SPACES["value"], "cross_attention": SPACES["cross"]}


def generate_concept_basis_and_image_representation(
    image: Image,
    caption: str,
    concepts: Sequence[str],
    noise_timestep: int = 49,
    layers: Sequence[int] | None = None,
    normalize_concepts: bool = True,
    num_steps: int = 50,
    seed: int = 63,
    model_name: str = "flux-schnell",
    offload: bool = True,
    device: str = "auto",
    target_space: str = "output",
    height: int = 1024,
    width: int = 1024,
    generator: FluxGenerator | None = None,
    num_samples: int = 1,
    reduce_dims: bool = True,
) -> tuple[Tensor, Tensor, None]:
    """Vectors of the image tokens and of the concepts, whose products are heatmaps.

    Args:
        image: of any size; the model gets it at `width` x `height`.
        caption: what the image shows; may be empty.
        concepts: one text for each.
        noise_timestep: the noise level is that of this step, from 0, of a schedule of `num_steps`.
        layers: joint blocks; None is all.
        normalize_concepts: linearly over the concepts, see `normalise_concepts`.
        seed: of the first noise.
        model_name, offload, device: of the model to load without a `generator`.
        target_space: `output`, `value`, or `cross_attention`: image queries and concept keys before RoPE.
        num_samples: noises.
        reduce_dims: layers, noises and features as one axis.

    Returns:
        Image vectors (N, F) and concept vectors (C, F), float32, F all features of all layers and noises; without
        `reduce_dims` (layers, noises, N, D) and (layers, noises, C, D), with an axis of heads before the tokens in the
        spaces that have heads. In place of theirs, the third is never a reconstructed image.

    Raises:
        UserError: for another space, a step that the schedule lacks, and as `analyze`.

    Source: arXiv:2502.04320, Sec. 5, and its published code.
    """
    check_choice("target_space", target_space, tuple(TARGET_SPACES))
    generator = generator or FluxGenerator(model_name, device, offload)
    space = TARGET_SPACES[target_space]
    keep = KeptVectors((space.image, space.concept))
    options: dict[str, Any] = {"layers": "all" if layers is None else layers, "prompt": caption, "seed": seed}
    noise = ConceptAttentionFluxPipeline(pipeline=generator.pipeline).noise_level(
        num_steps, noise_timestep, height * width // 256
    )
    recording = analyze(
        generator.pipeline,
        image,
        literal_concepts(concepts),
        noise=noise,
        samples=num_samples,
        width=width,
        height=height,
        pooling="first",
        on_vectors=keep,
        **options,
    )
    image_vectors, concept_vectors = (
        _of_one_image(keep.stack(name, recording.steps)) for name in (space.image, space.concept)
    )
    if normalize_concepts:
        concept_vectors = normalise_concepts(concept_vectors, "linear")
    if not reduce_dims:
        return image_vectors, concept_vectors, None
    return _reduced(image_vectors), _reduced(concept_vectors), None


def _of_one_image(vectors: Tensor) -> Tensor:
    """(S, L, 1, ...) as (L, S, ...), float32."""
    return vectors[:, :, 0].transpose(0, 1).float()


def _reduced(vectors: Tensor) -> Tensor:
    if vectors.ndim == 4:
        return rearrange(vectors, "layers noises n d -> n (layers noises d)")
    return rearrange(vectors, "layers noises heads n d -> n (layers noises heads d)")
