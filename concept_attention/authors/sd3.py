"""The interface of the authors' own class for Stable Diffusion 3, for code that was written for it."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any

from PIL.Image import Image

from ..choices import Pooling, Reader
from ..hosts.diffusers.pipelines.sd3 import SD3Family
from .base import AuthorsPipeline
from .output import ConceptAttentionOutput
from .wanted import Wanted


class ConceptAttentionSD3Pipeline(AuthorsPipeline):
    """Stable Diffusion 3 and 3.5 with concept attention, called as the authors' class of that name.

    Args:
        model_name: a hub id, a diffusers folder, `sd3.5-large-turbo` or another of `loading.names()`.
        device: `auto`, `cpu`, `cuda:0`, `mps`.
        dtype: `auto` (bfloat16), `float32`, `float16`, `bfloat16`; or the dtype of torch of that name.
        pipeline: a loaded StableDiffusion3Pipeline to use instead; the other arguments are not read then.

    Raises:
        UserError: as `load_pipeline`, and for a pipeline of another family.

    Heatmaps follow the authors' rule: concept vectors of length one, dot products, softmax over concepts, then the mean
    over all layers and steps. It differs where theirs fails:
    - A concept is read alone by T5, all of its words. Theirs is the CLIP token that stands where the concept would be
      if each had one token: `reader="clip"`, with which every concept here has as many tokens as it has.
    - With classifier-free guidance the prompt's half is observed, theirs is the negative prompt's.
    - The image tokens that are scored have attended to the prompt, as arXiv:2502.04320 says; theirs to the concepts in
      place of it, so that they depend on the list. No argument gives that.
    - Every step has its own softmax; theirs averages the vectors over the steps before. For one step it is the same.
    - SD3.5 medium works, and any layers and steps can be chosen. One concept alone is drawn by its score.
    - Scores are float32 whatever the model's dtype, and heatmaps are enlarged smoothly.
    - Vectors are kept only with `cache_vectors=True`, the default of theirs: at 1024 x 1024 in bfloat16 they take
      40 MB for each step and layer of 3.5 large. The first of their concept vectors, a start token, is left out.
    - Values are tensors, theirs arrays. Texts and caches are as in `ConceptAttentionFluxPipeline`.

    Source: arXiv:2502.04320 and its published code.
    """

    family = SD3Family()

    def __init__(
        self,
        model_name: str = "stabilityai/stable-diffusion-3.5-large-turbo",
        device: str = "auto",
        dtype: Any = "auto",
        *,
        pipeline: Any = None,
    ) -> None:
        super().__init__(pipeline, model_name, device, dtype=str(dtype).removeprefix("torch."))

    def generate_image(
        self,
        prompt: str,
        concepts: Sequence[str],
        height: int | None = None,
        width: int | None = None,
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        seed: int | None = None,
        layer_indices: Sequence[int] | None = None,
        timestep_indices: Sequence[int] | None = None,
        return_pil_heatmaps: bool = True,
        softmax: bool = True,
        cmap: str = "plasma",
        cache_vectors: bool = False,
        *,
        pooling: Pooling = "auto",
        reader: Reader = "auto",
    ) -> ConceptAttentionOutput:
        """Generate an image and map its concepts.

        Args:
            num_inference_steps: None is the model's own number (turbo 4, else 28). The authors' is 4.
            guidance_scale: of classifier-free guidance, up to 1 is off; None is the model's own (turbo 1, else 4.5).
                The authors' is 0, which is off.
            seed: of the noise; None takes a random one.
            layer_indices: joint blocks to average; None is all.
            timestep_indices: steps to average, 0 is the first; None is all.
            cache_vectors: return the attention outputs of these layers and steps, each
                (steps, layers, batch, tokens, D).
            pooling, reader: how a concept becomes one vector, see `encode_concepts`.

        The other arguments and the errors are those of `ConceptAttentionFluxPipeline.generate_image`.
        """
        wanted = Wanted(layer_indices, timestep_indices, softmax, return_pil_heatmaps, cmap, vectors=cache_vectors)
        options = dict(width=width, height=height, cfg=guidance_scale, seed=_seed(seed), pooling=pooling, reader=reader)
        return self._generate_image(prompt, concepts, wanted, num_inference_steps, **options)

    def encode_image(
        self,
        image: Image,
        prompt: str,
        concepts: Sequence[str],
        height: int | None = None,
        width: int | None = None,
        num_inference_steps: int = 4,
        timestep_index: int = -2,
        layer_indices: Sequence[int] | None = None,
        seed: int | None = None,
        return_pil_heatmaps: bool = True,
        softmax: bool = True,
        cmap: str = "plasma",
        cache_vectors: bool = False,
        *,
        pooling: Pooling = "auto",
        reader: Reader = "auto",
    ) -> ConceptAttentionOutput:
        """Map the concepts of an existing image.

        Args:
            num_inference_steps, timestep_index: the noise level is that of step `timestep_index`, from the end if
                negative, of a schedule of so many steps; 4 and -2 are sigma 0.60.
            layer_indices, seed, cache_vectors, pooling, reader: see `generate_image`.

        The other arguments and the errors are those of `ConceptAttentionFluxPipeline.encode_image`.
        """
        step = timestep_index + num_inference_steps if timestep_index < 0 else timestep_index
        wanted = Wanted(layer_indices, None, softmax, return_pil_heatmaps, cmap, vectors=cache_vectors)
        options = dict(prompt=prompt, seed=_seed(seed), pooling=pooling, reader=reader)
        return self._encode_image(image, concepts, wanted, (width, height), num_inference_steps, step, **options)


def _seed(seed: int | None) -> int:
    return secrets.randbits(62) if seed is None else seed
