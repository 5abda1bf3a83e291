"""What the authors' classes for images return."""

from __future__ import annotations

from dataclasses import dataclass

from PIL.Image import Image
from torch import Tensor

from ..recording.recording import Recording


@dataclass(frozen=True, eq=False)
class ConceptAttentionOutput:
    """One image and where its concepts are.

    Attributes:
        image: generated or given; as RGB, upright.
        concept_heatmaps: per concept an image of the size of `image`; or the values (C, rows, columns), float32.
        recording: every layer and step, to make other heatmaps from without running the model again.
        cross_attention_maps: as `concept_heatmaps`, from the vectors that the authors compare for them; None without
            `return_cross_attention`, and for Stable Diffusion 3.
        concept_output_vectors, image_output_vectors: attention outputs of the chosen layers and steps, of the concepts
            and of the image tokens, on the CPU, in the model's dtype and the authors' order of axes; None without
            `cache_vectors`.
    """

    image: Image
    concept_heatmaps: list[Image] | Tensor
    recording: Recording
    cross_attention_maps: list[Image] | Tensor | None = None
    concept_output_vectors: Tensor | None = None
    image_output_vectors: Tensor | None = None
