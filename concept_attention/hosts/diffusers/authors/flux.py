"""The interface of the authors' own class for Flux 1, for code that was written for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from PIL.Image import Image

from ....choices import Pooling
from ....errors import UserError
from ..pipelines.flux import FluxFamily
from .base import AuthorsPipeline, ConceptAttentionOutput, HeatmapOptions


class ConceptAttentionFluxPipeline(AuthorsPipeline):
    """Flux 1 with concept attention, called as the authors' class of that name.

    Args:
        model_name: `flux-schnell`, `flux-dev`, `tiny`, a diffusers folder or a hub id.
        offload_model: keep idle parts on the CPU.
        device: `auto`, `cpu`, `cuda:0`, `mps`.
        pipeline: a loaded FluxPipeline to use instead; the other arguments are not read then.

    Raises:
        UserError: as `load_pipeline`, and for a pipeline of another family.

    Heatmaps follow the authors' rule: the first token of each concept (`pooling="first"`; `"auto"` reads whole
    phrases), dot products, softmax over concepts, then the mean over layers and steps. It differs where theirs fails:
    - Any size is possible. Without one it is the model's own, 1024 x 1024 for theirs.
    - Any layers and steps can be chosen; all are recorded, and `num_samples` are really averaged.
    - Scores are float32 whatever the model's dtype, and one concept alone is drawn by its score, not as NaN.
    - Heatmap images have the size of the image, not one pixel per token. Their colours are the authors': the least
      value of all concepts together is the first colour, the greatest the last. Compare them within an image only;
      `return_pil_heatmaps=False` gives the values, which sum to one over the concepts.
    - The vectors themselves are not returned: what is kept of them are their scores, in `recording`.

    Example:
        >>> from concept_attention import ConceptAttentionFluxPipeline
        >>> pipeline = ConceptAttentionFluxPipeline("tiny", device="cpu")
        >>> output = pipeline.generate_image(
        ...     "a red house", ["house", "sky"], width=64, height=48, num_inference_steps=2
        ... )
        >>> output.image.size, [heatmap.size for heatmap in output.concept_heatmaps]
        ((64, 48), [(64, 48), (64, 48)])
        >>> again = pipeline.encode_image(output.image, ["house", "sky"], width=64, return_pil_heatmaps=False)
        >>> again.concept_heatmaps.shape, again.concept_heatmaps.sum(0).mean().round(decimals=4).item()
        (torch.Size([2, 3, 4]), 1.0)

    Source: arXiv:2502.04320 and its published code.
    """

    family = FluxFamily()

    def __init__(
        self,
        model_name: str = "flux-schnell",
        offload_model: bool = False,
        device: str = "auto",
        *,
        pipeline: Any = None,
    ) -> None:
        super().__init__(pipeline, model_name, device, offload="model" if offload_model else "none")

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
        """Generate an image and map its concepts.

        Args:
            prompt: what to generate.
            concepts: what to look for, one per item; `name: longer phrase` is possible.
            width, height: pixels, multiples of 16; None is the model's own size.
            return_cross_attention: must be False, as in the authors' code: cross attention is not recorded.
            layer_indices: joint blocks to average; None is the last fifth, 15 to 18 of Flux 1's 19.
            return_pil_heatmaps: images; False gives values.
            seed: of the noise.
            num_inference_steps: None is the model's own number (schnell 4, dev 28). The authors' is 4.
            guidance: distilled guidance; None is the model's own (dev 3.5). The authors' is 0, also for dev.
            timesteps: steps to average, 0 is the first; None is all.
            softmax: shares; False gives the mean of the raw dot products.
            cmap: any colour map of matplotlib.
            cache_vectors: accepted and not read: vectors are reduced to scores at once and never kept.
            pooling: how a concept of several tokens becomes one vector, see `encode_concepts`.

        Raises:
            UserError: for `return_cross_attention`, unknown colour maps, and as `generate` and `make_heatmaps`.
        """
        if return_cross_attention:
            raise UserError("Cross attention is not recorded. Leave out `return_cross_attention`.")
        wanted = HeatmapOptions(layer_indices, timesteps, softmax, return_pil_heatmaps, cmap)
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
        """Map the concepts of an existing image.

        Args:
            image: any kind of image that `from_pil` converts.
            prompt: what the image shows; may be empty.
            width, height: pixels the model gets, multiples of 16; None keeps the aspect ratio at about the model's
                own size. The authors' 1024 x 1024 squeezes the image into a square.
            num_samples: noises to average; the authors' code averages the first with itself.
            num_steps, noise_timestep: the noise level is that of step `noise_timestep`, from 0, of a schedule of
                `num_steps`; 4 and 2 are sigma 0.5 for schnell, 0.76 for dev at 1024 x 1024.
            device: accepted and not read: the model stays where it was loaded.
            seed: of the first noise. The image's latent is the autoencoder's mean; the authors draw it, unseeded.
            stop_after_multi_modal_attentions: accepted and not read: nothing runs after the last joint block.
            concepts, layer_indices, return_pil_heatmaps, softmax, cmap, cache_vectors, pooling: see
                `generate_image`.

        Raises:
            UserError: for a step that the schedule lacks, unknown colour maps, and as `analyze` and `make_heatmaps`.
        """
        wanted = HeatmapOptions(layer_indices, None, softmax, return_pil_heatmaps, cmap)
        options = dict(prompt=prompt, samples=num_samples, seed=seed, pooling=pooling)
        return self._encode_image(image, concepts, wanted, (width, height), num_steps, noise_timestep, **options)
