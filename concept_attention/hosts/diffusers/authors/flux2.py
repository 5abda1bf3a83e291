"""The interface of the authors' own class for Flux 2, for code that was written for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from PIL.Image import Image

from ....choices import Pooling
from ..loading import defaults_for, load_pipeline
from ..pipelines import flux2 as flux2_pipeline
from .base import AuthorsPipeline, Choice, ConceptAttentionOutput


class ConceptAttentionFlux2Pipeline(AuthorsPipeline):
    """Flux 2 with concept attention, called as the authors' class of that name.

    Args:
        model_name: `flux.2-dev`, `flux.2-klein-4b`, `flux.2-klein-9b`, a diffusers folder or a hub id.
        device: `auto`, `cpu`, `cuda:0`, `mps`.
        offload_model: keep on the CPU what is idle.
        pipeline: a loaded Flux2Pipeline or Flux2KleinPipeline to use instead; the other arguments are not read then.

    Raises:
        ValueError: as `load_pipeline`, and for a pipeline of another family.

    Heatmaps follow the authors' rule: the last word token of each concept, dot products, the mean over layers and
    steps, then a softmax over concepts at temperature 1000. It differs where theirs fails:
    - Any size is possible. Without one it is the model's own, 1024 x 1024; theirs is 2048 x 2048.
    - Scores are float32, theirs bfloat16; one concept alone is drawn by its score; heatmaps are enlarged smoothly.
    - `encode_image` stops after the joint blocks, and takes pictures of any kind.
    - There are no cross attention maps. Every layer and step is in `recording`.

    Source: arXiv:2502.04320 and its published code.
    """

    def __init__(
        self,
        model_name: str = "flux.2-dev",
        device: str = "auto",
        offload_model: bool = False,
        *,
        pipeline: Any = None,
    ) -> None:
        if pipeline is None:
            pipeline = load_pipeline(model_name, device, offload="model" if offload_model else "none")
        super().__init__(pipeline, flux2_pipeline.PIPELINES)

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
        cache_vectors: bool = True,
        *,
        pooling: Pooling = "auto",
    ) -> ConceptAttentionOutput:
        """Generate a picture and map its concepts.

        Args:
            prompt: what to generate.
            concepts: what to look for, one per item; `name: longer phrase` is possible.
            width, height: pixels, multiples of 16; None is the model's own size. The authors' is 2048 x 2048.
            num_inference_steps: None is the model's own number; dev's is the authors' 28.
            guidance: distilled guidance of dev; None is the model's own, dev's is the authors' 4.
            seed: of the noise.
            layer_indices: joint blocks to average; None is the last three of eight.
            timesteps: steps to average, 0 is the first; None is as the authors have it, the last 30 % but the last one.
            return_pil_heatmaps: pictures; False gives values.
            softmax: shares; False gives the mean of the raw dot products.
            softmax_temperature: the mean scores are divided by it.
            cmap: any colour map of matplotlib.
            cache_vectors: accepted and not read: vectors are reduced to scores at once and never kept.
            pooling: how a concept of several tokens becomes one vector; `auto` is the authors', the last token.

        Raises:
            ValueError: for unknown colour maps, and as `generate` and `make_heatmaps`.
        """
        count = defaults_for(self.pipeline).steps if num_inference_steps is None else num_inference_steps
        usual = range(int(0.7 * count), count - 1) or range(max(0, count - 1), count)  # at least one
        steps = usual if timesteps is None else timesteps
        return self._generate_image(
            prompt,
            concepts,
            choice=Choice(layer_indices, steps, softmax, return_pil_heatmaps, cmap, softmax_temperature),
            steps=num_inference_steps,
            width=width,
            height=height,
            guidance=guidance,
            seed=seed,
            pooling=pooling,
        )

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
        cache_vectors: bool = True,
        *,
        pooling: Pooling = "auto",
    ) -> ConceptAttentionOutput:
        """Map the concepts of an existing picture.

        Args:
            image: any kind of picture that `from_pil` converts.
            concepts, layer_indices, seed, return_pil_heatmaps, softmax, softmax_temperature, cmap, cache_vectors,
                pooling: as in `generate_image`.
            prompt: what the picture shows; may be empty.
            width, height: pixels to look at, multiples of 16; None keeps the aspect at about the model's own size.
                The authors' 2048 x 2048 squeezes the picture into a square.
            num_steps, noise_timestep: the noise level is that of step `noise_timestep`, from 0, of a schedule of
                `num_steps`; 4 and 2 are sigma 0.91 at 1024 x 1024, almost only noise.

        Raises:
            ValueError: for a step that the schedule lacks, unknown colour maps, and as `analyze` and `make_heatmaps`.
        """
        return self._encode_image(
            image,
            concepts,
            Choice(layer_indices, None, softmax, return_pil_heatmaps, cmap, softmax_temperature),
            width,
            height,
            num_steps,
            noise_timestep,
            prompt=prompt,
            seed=seed,
            pooling=pooling,
        )
