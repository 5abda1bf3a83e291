"""The interface of the authors' own class for Flux 2, for code that was written for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from PIL.Image import Image

from ..choices import Pooling
from ..hosts.diffusers.loading import defaults_for
from ..hosts.diffusers.pipelines.flux2 import Flux2Family
from ..vectors import Space
from .base import AuthorsPipeline
from .output import ConceptAttentionOutput
from .wanted import Wanted


class ConceptAttentionFlux2Pipeline(AuthorsPipeline):
    """Flux 2 with concept attention, called as the authors' class of that name.

    Args:
        model_name: `flux.2-dev`, `flux.2-klein-4b`, `flux.2-klein-9b`, a diffusers folder or a hub id.
        device: `auto`, `cpu`, `cuda:0`, `mps`.
        offload_model: keep idle parts on the CPU.
        pipeline: a loaded Flux2Pipeline or Flux2KleinPipeline to use instead; the other arguments are not read then.

    Raises:
        UserError: as `load_pipeline`, and for a pipeline of another family.

    Heatmaps follow the authors' rule: the last word token of each concept, dot products, the mean over layers and
    steps, then a softmax over concepts at temperature 1000. It differs where theirs fails:
    - Any size is possible. Without one it is the model's own, 1024 x 1024; theirs is 2048 x 2048.
    - Scores are float32, theirs bfloat16; one concept alone is drawn by its score; heatmaps are enlarged smoothly.
    - `encode_image` stops after the joint blocks, and takes images of any kind.
    - Cross attention maps are the authors': concept queries with image keys, both before RoPE, then as above. They are
      left out with `return_cross_attention=False`.
    - Vectors are kept only with `cache_vectors=True`, the default of theirs: at 2048 x 2048 in bfloat16 they take
      200 MB for each step and layer.
    - Values are tensors, theirs arrays. Texts and caches are as in `ConceptAttentionFluxPipeline`.

    Source: arXiv:2502.04320 and its published code.
    """

    family = Flux2Family()
    cross_space = Space("image_k", "concept_q")
    vector_axes = "b s l n d"

    def __init__(
        self, model_name: str = "flux.2-dev", device: str = "auto", offload_model: bool = False, *, pipeline: Any = None
    ) -> None:
        super().__init__(pipeline, model_name, device, offload="model" if offload_model else "none")

    def generate_image(
        self,
        prompt: str,
        concepts: Sequence[str],
        width: int | None = None,
        height: int | None = None,
        num_inference_steps: int | None = None,
        guidance: float | None = None,
        seed: int = 0,
        layer_indices: Sequence[int] | None = None,
        timesteps: Sequence[int] | None = None,
        return_pil_heatmaps: bool = True,
        softmax: bool = True,
        softmax_temperature: float = 1000.0,
        cmap: str = "plasma",
        cache_vectors: bool = False,
        *,
        pooling: Pooling = "auto",
        return_cross_attention: bool = True,
    ) -> ConceptAttentionOutput:
        """Generate an image and map its concepts.

        Args:
            num_inference_steps: None is the model's own number; dev's is the authors' 28.
            guidance: distilled guidance of dev; None is the model's own, dev's is the authors' 4.
            layer_indices: joint blocks to average; None is the last three of eight.
            timesteps: steps to average, 0 is the first; None is the authors' choice, the last 30 % except the very
                last.
            softmax_temperature: the mean scores are divided by it.
            cache_vectors: return the attention outputs of these layers and steps, each
                (batch, steps, layers, tokens, D).
            pooling: how a concept of several tokens becomes one vector; `auto` is the authors', the last token.
            return_cross_attention: map the concepts by cross attention as well.

        The other arguments and the errors are those of `ConceptAttentionFluxPipeline.generate_image`.
        """
        count = defaults_for(self.pipeline).steps if num_inference_steps is None else num_inference_steps
        usual = range(int(0.7 * count), count - 1) or range(max(0, count - 1), count)  # at least one
        steps = usual if timesteps is None else timesteps
        wanted = Wanted(
            layer_indices,
            steps,
            softmax,
            return_pil_heatmaps,
            cmap,
            softmax_temperature,
            cross=return_cross_attention,
            vectors=cache_vectors,
        )
        options = dict(width=width, height=height, guidance=guidance, seed=seed, pooling=pooling)
        return self._generate_image(prompt, concepts, wanted, num_inference_steps, **options)

    def encode_image(
        self,
        image: Image,
        concepts: Sequence[str],
        prompt: str = "",
        width: int | None = None,
        height: int | None = None,
        layer_indices: Sequence[int] | None = None,
        num_steps: int = 4,
        noise_timestep: int = 2,
        seed: int = 0,
        return_pil_heatmaps: bool = True,
        softmax: bool = True,
        softmax_temperature: float = 1000.0,
        cmap: str = "plasma",
        cache_vectors: bool = False,
        *,
        pooling: Pooling = "auto",
        return_cross_attention: bool = True,
    ) -> ConceptAttentionOutput:
        """Map the concepts of an existing image.

        Args:
            width, height: pixels the model gets, multiples of 16; None keeps the aspect ratio at about the model's
                own size. The authors' 2048 x 2048 squeezes the image into a square.
            num_steps, noise_timestep: the noise level is that of step `noise_timestep`, from 0, of a schedule of
                `num_steps`; 4 and 2 are sigma 0.91 at 1024 x 1024, almost only noise.
            softmax_temperature, cache_vectors, pooling, return_cross_attention: see `generate_image`.

        The other arguments and the errors are those of `ConceptAttentionFluxPipeline.encode_image`.
        """
        wanted = Wanted(
            layer_indices,
            None,
            softmax,
            return_pil_heatmaps,
            cmap,
            softmax_temperature,
            cross=return_cross_attention,
            vectors=cache_vectors,
        )
        options = dict(prompt=prompt, seed=seed, pooling=pooling)
        return self._encode_image(image, concepts, wanted, (width, height), num_steps, noise_timestep, **options)
