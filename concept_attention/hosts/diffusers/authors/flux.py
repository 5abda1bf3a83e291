"""The interface of the authors' own class for Flux 1, for code that was written for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from PIL.Image import Image

from ....choices import Pooling
from ..loading import load_pipeline
from ..pipelines import flux as flux_pipeline
from .base import AuthorsPipeline, Choice, ConceptAttentionOutput


class ConceptAttentionFluxPipeline(AuthorsPipeline):
    """Flux 1 with concept attention, called as the authors' class of that name.

    Args:
        model_name: `flux-schnell`, `flux-dev`, `tiny`, a diffusers folder or a hub id.
        offload_model: keep on the CPU what is idle.
        device: `auto`, `cpu`, `cuda:0`, `mps`.
        pipeline: a loaded FluxPipeline to use instead; the other arguments are not read then.

    Raises:
        ValueError: as `load_pipeline`.

    Heatmaps follow the authors' rule: the first token of each concept (`pooling="first"`; `"auto"` reads whole
    phrases), dot products, softmax over concepts, then the mean over layers and steps. It differs where theirs fails:
    - Any size is possible. Without one it is the model's own, 1024 x 1024 for theirs.
    - Any layers and steps can be chosen; all are recorded, and `num_samples` are really averaged.
    - Scores are float32 whatever the model's dtype, and one concept alone is drawn by its score, not as NaN.
    - Pictures of heatmaps have the size of the picture, not one pixel per token. Their colours are the authors': the
      least value of all concepts together is the first colour, the greatest the last. Compare them within a picture
      only; `return_pil_heatmaps=False` gives the values, which sum to one over the concepts.
    - The vectors themselves are not returned: what is kept of them are their scores, in `recording`.

    Source: arXiv:2502.04320 and its published code.
    """

    def __init__(
        self,
        model_name: str = "flux-schnell",
        offload_model: bool = False,
        device: str = "auto",
        *,
        pipeline: Any = None,
    ) -> None:
        if pipeline is None:
            pipeline = load_pipeline(model_name, device, offload="model" if offload_model else "none")
        super().__init__(pipeline, flux_pipeline.PIPELINES)

    def generate_image(
        self,
        prompt: str,
        concepts: Sequence[str],
        width: int | None = None,
        height: int | None = None,
        return_cross_attention: bool = False,
        layer_indices: Sequence[int] | None = None,
        return_pil_heatmaps: bool = True,
        seed: int = 0,
        num_inference_steps: int | None = None,
        guidance: float | None = None,
        timesteps: Sequence[int] | None = None,
        softmax: bool = True,
        cmap: str = "plasma",
        cache_vectors: bool = True,
        *,
        pooling: Pooling = "first",
    ) -> ConceptAttentionOutput:
        """Generate a picture and map its concepts.

        Args:
            prompt: what to generate.
            concepts: what to look for, one per item; `name: longer phrase` is possible.
            width, height: pixels, multiples of 16; None is the model's own size.
            return_cross_attention: must be False, as in the authors' code: cross attention is not recorded.
            layer_indices: joint blocks to average; None is the last fifth, 15 to 18 of Flux 1's 19.
            return_pil_heatmaps: pictures; False gives values.
            seed: of the noise.
            num_inference_steps: None is the model's own number (schnell 4, dev 28). The authors' is 4.
            guidance: distilled guidance; None is the model's own (dev 3.5). The authors' is 0, also for dev.
            timesteps: steps to average, 0 is the first; None is all.
            softmax: shares; False gives the mean of the raw dot products.
            cmap: any colour map of matplotlib.
            cache_vectors: accepted and not read: vectors are reduced to scores at once and never kept.
            pooling: how a concept of several tokens becomes one vector, see `encode_concepts`.

        Raises:
            ValueError: for `return_cross_attention`, unknown colour maps, and as `generate` and `make_heatmaps`.
        """
        if return_cross_attention:
            raise ValueError("Cross attention is not recorded. Leave out `return_cross_attention`.")
        return self._generate_image(
            prompt,
            concepts,
            choice=Choice(layer_indices, timesteps, softmax, return_pil_heatmaps, cmap),
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
        num_samples: int = 1,
        num_steps: int = 4,
        noise_timestep: int = 2,
        device: str | None = None,
        return_pil_heatmaps: bool = True,
        seed: int = 0,
        cmap: str = "plasma",
        stop_after_multi_modal_attentions: bool = True,
        softmax: bool = True,
        cache_vectors: bool = True,
        *,
        pooling: Pooling = "first",
    ) -> ConceptAttentionOutput:
        """Map the concepts of an existing picture.

        Args:
            image: any kind of picture that `from_pil` converts.
            concepts, layer_indices, return_pil_heatmaps, softmax, cmap, cache_vectors, pooling: as in
                `generate_image`.
            prompt: what the picture shows; may be empty.
            width, height: pixels to look at, multiples of 16; None keeps the aspect at about the model's own size.
                The authors' 1024 x 1024 squeezes the picture into a square.
            num_samples: noises to average; the authors' code averages the first with itself.
            num_steps, noise_timestep: the noise level is that of step `noise_timestep`, from 0, of a schedule of
                `num_steps`; 4 and 2 are sigma 0.5 for schnell, 0.76 for dev at 1024 x 1024.
            device: accepted and not read: the model stays where it was loaded.
            seed: of the first noise. The picture's latent is the autoencoder's mean; the authors draw it, unseeded.
            stop_after_multi_modal_attentions: accepted and not read: nothing runs after the last joint block.

        Raises:
            ValueError: for a step that the schedule lacks, unknown colour maps, and as `analyze` and `make_heatmaps`.
        """
        return self._encode_image(
            image,
            concepts,
            Choice(layer_indices, None, softmax, return_pil_heatmaps, cmap),
            width,
            height,
            num_steps,
            noise_timestep,
            prompt=prompt,
            samples=num_samples,
            seed=seed,
            pooling=pooling,
        )
