"""The interface of the authors' own class for Flux 1, for code that was written for it."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any

from PIL.Image import Image
from torch import Tensor

from ..choices import Pooling
from ..hosts.diffusers.generation import generate
from ..hosts.diffusers.pipelines.flux import FluxFamily
from ..vectors import KeptVectors, Space
from .base import AuthorsPipeline
from .output import ConceptAttentionOutput
from .wanted import Wanted, literal_concepts


class ConceptAttentionFluxPipeline(AuthorsPipeline):
    """Flux 1 with concept attention, called as the authors' class of that name.

    Attributes:
        flux_generator: the parts of the pipeline by the authors' names.

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
    - Heatmaps and cross attention maps as values are tensors, theirs arrays of numpy.
    - Cross attention maps are the authors': concept queries with image queries before RoPE, softmax over concepts. They
      are left out with `return_cross_attention=False`, which in theirs is the only value.
    - Vectors are kept only with `cache_vectors=True`, the default of theirs: at 1024 x 1024 in bfloat16 they take
      100 MB for each step and layer.
    - Each text is one concept, as it stands. Of a text that is given twice, the second is named `sky (2)` in
      `recording`.
    - Every step is recorded whose attention the model computes. A cache, such as TaylorSeer, skips some; steps are
      counted as the sampler counts them, and only what was recorded is averaged.

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
    cross_space = Space("image_q", "concept_q")

    def __init__(
        self,
        model_name: str = "flux-schnell",
        offload_model: bool = False,
        device: str = "auto",
        *,
        pipeline: Any = None,
    ) -> None:
        super().__init__(pipeline, model_name, device, offload="model" if offload_model else "none")
        self.offload_model = offload_model

    @property
    def flux_generator(self) -> FluxGenerator:
        return FluxGenerator(self.model_name, self.device, self.offload_model, pipeline=self.pipeline)

    def generate_image(
        self,
        prompt: str,
        concepts: Sequence[str],
        width: int | None = None,
        height: int | None = None,
        return_cross_attention: bool = True,
        layer_indices: Sequence[int] | None = None,
        return_pil_heatmaps: bool = True,
        seed: int = 0,
        num_inference_steps: int | None = None,
        guidance: float | None = None,
        timesteps: Sequence[int] | None = None,
        softmax: bool = True,
        cmap: str = "plasma",
        cache_vectors: bool = False,
        *,
        pooling: Pooling = "first",
    ) -> ConceptAttentionOutput:
        """Generate an image and map its concepts.

        Args:
            prompt: what to generate.
            concepts: what to look for, one text for each.
            width, height: pixels, multiples of 16; None is the model's own size.
            return_cross_attention: map the concepts by cross attention as well.
            layer_indices: joint blocks to average; None is the last fifth, 15 to 18 of Flux 1's 19.
            return_pil_heatmaps: images; False gives values.
            seed: of the noise.
            num_inference_steps: None is the model's own number (schnell 4, dev 28). The authors' is 4.
            guidance: distilled guidance; None is the model's own (dev 3.5). The authors' is 0, also for dev.
            timesteps: steps to average, 0 is the first; None is all.
            softmax: shares; False gives the mean of the raw dot products.
            cmap: any colour map of matplotlib.
            cache_vectors: return the attention outputs of these layers and steps, each
                (steps, layers, batch, tokens, D).
            pooling: how a concept of several tokens becomes one vector, see `encode_concepts`.

        Raises:
            UserError: for unknown colour maps, steps none of which was recorded, and as `generate` and `make_heatmaps`.
        """
        wanted = Wanted(
            layer_indices,
            timesteps,
            softmax,
            return_pil_heatmaps,
            cmap,
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
        num_samples: int = 1,
        num_steps: int = 4,
        noise_timestep: int = 2,
        device: str | None = None,
        return_pil_heatmaps: bool = True,
        seed: int = 0,
        cmap: str = "plasma",
        stop_after_multi_modal_attentions: bool = True,
        softmax: bool = True,
        cache_vectors: bool = False,
        *,
        pooling: Pooling = "first",
        return_cross_attention: bool = True,
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
            concepts, layer_indices, return_pil_heatmaps, softmax, cmap, cache_vectors, pooling,
                return_cross_attention: see `generate_image`. Samples are the steps of the vectors.

        Raises:
            UserError: for a step that the schedule lacks, unknown colour maps, and as `analyze` and `make_heatmaps`.
        """
        wanted = Wanted(
            layer_indices,
            None,
            softmax,
            return_pil_heatmaps,
            cmap,
            cross=return_cross_attention,
            vectors=cache_vectors,
        )
        options = dict(prompt=prompt, samples=num_samples, seed=seed, pooling=pooling)
        return self._encode_image(image, concepts, wanted, (width, height), num_steps, noise_timestep, **options)


class FluxGenerator:
    """The parts of a Flux pipeline by the names that the authors give them, and the vectors of a run.

    Attributes:
        model, ae, t5, clip: transformer, autoencoder and text encoders, of diffusers and transformers; theirs are
            classes of Black Forest Labs, whose methods these do not have.
        model_name, device, offload: as for `ConceptAttentionFluxPipeline`.

    Args:
        pipeline: a loaded FluxPipeline to use; without it, `model_name` is loaded.
    """

    def __init__(self, model_name: str, device: Any = "auto", offload: bool = False, *, pipeline: Any = None) -> None:
        if pipeline is None:
            pipeline = ConceptAttentionFluxPipeline(model_name, offload, str(device)).pipeline
        self.pipeline = pipeline
        self.model_name, self.device, self.offload = model_name, device, offload
        self.model, self.ae = pipeline.transformer, pipeline.vae
        self.t5, self.clip = pipeline.text_encoder_2, pipeline.text_encoder

    @property
    def is_schnell(self) -> bool:
        return not self.model.config.guidance_embeds

    def generate_image(
        self,
        width: int,
        height: int,
        num_steps: int,
        guidance: float,
        seed: int,
        prompt: str,
        concepts: Sequence[str],
        *,
        layer_indices: Sequence[int] | None = None,
        timestep_indices: Sequence[int] | None = None,
    ) -> tuple[Image, dict[str, Tensor]]:
        """Generate an image and keep the vectors of a run, which take gigabytes at full size.

        Args:
            seed: of the noise; -1 draws one.
            layer_indices, timestep_indices: to keep vectors of; None is all.

        Returns:
            The image, and by the authors' names: `output_space_concept_vectors` and `output_space_image_vectors`,
            (steps, layers, batch, tokens, D); `cross_attention_concept_vectors` and `cross_attention_image_vectors`,
            queries before RoPE, (steps, layers, batch, heads, tokens, head_dim).
        """
        keep = KeptVectors(_GENERATOR_VECTORS.values(), layer_indices, timestep_indices)
        result = generate(
            self.pipeline,
            prompt,
            literal_concepts(concepts),
            width=width,
            height=height,
            steps=num_steps,
            guidance=guidance,
            seed=secrets.randbits(62) if seed == -1 else seed,
            pooling="first",
            on_vectors=keep,
        )
        steps = result.recording.steps
        return result.images[0], {name: keep.stack(field, steps) for name, field in _GENERATOR_VECTORS.items()}


_GENERATOR_VECTORS = {
    "output_space_concept_vectors": "concept_out",
    "output_space_image_vectors": "image_out",
    "cross_attention_concept_vectors": "concept_q",
    "cross_attention_image_vectors": "image_q",
}
