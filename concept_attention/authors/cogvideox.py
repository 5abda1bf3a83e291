"""The interfaces of the authors' own classes for CogVideoX, for code that was written for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from diffusers import CogVideoXPipeline, CogVideoXTransformer3DModel
from PIL.Image import Image
from torch import Tensor

from ..choices import Pooling
from ..heatmaps.heatmaps import Heatmaps, make_heatmaps
from ..hosts.diffusers.encode import encode_concepts
from ..hosts.diffusers.pipelines.cogvideox import CogVideoXFamily
from ..hosts.diffusers.record import record
from ..recording.recording import Recording
from ..vectors import Space
from .base import AuthorsPipeline
from .wanted import Wanted, draw, literal_concepts

ModifiedCogVideoXTransformer3DModel = CogVideoXTransformer3DModel
"""The transformer needs no change: concepts pass through it by hooks."""


@dataclass(frozen=True, eq=False)
class ConceptAttentionVideoOutput:
    """One video and where its concepts are.

    Attributes:
        video: its frames.
        concept_heatmaps: per concept an image for each frame, of its size; or the values (C, T, rows, columns),
            float32, T latent frames or pairs of them.
        recording: every layer and step, to make other heatmaps from without running the model again.
        cross_attention_maps, concept_output_vectors, image_output_vectors: see `ConceptAttentionOutput`.
    """

    video: list[Image]
    concept_heatmaps: list[list[Image]] | Tensor
    recording: Recording
    cross_attention_maps: list[list[Image]] | Tensor | None = None
    concept_output_vectors: Tensor | None = None
    image_output_vectors: Tensor | None = None


class ConceptAttentionCogVideoXPipeline(AuthorsPipeline):
    """CogVideoX with concept attention, with the interface that the authors' classes have for images.

    Args:
        model_name: a hub id, a diffusers folder, or `cogvideox-2b`, `cogvideox-5b`, `cogvideox1.5-5b`.
        device: `auto`, `cpu`, `cuda:0`, `mps`.
        offload_model: keep idle parts on the CPU.
        pipeline: a loaded CogVideoXPipeline to use instead; the other arguments are not read then.

    Raises:
        UserError: as `load_pipeline`, and for a pipeline of another family.

    Heatmaps follow the authors' rule: the first token of each concept (`pooling="first"`; `"auto"` reads whole
    phrases), dot products, softmax over the concepts and the pad tokens that make 226 of them, then the mean over
    layers and steps (mode `cogvideox`; values of `return_pil_heatmaps=False` therefore sum to less than one). It
    differs where theirs fails:
    - Without guidance (`guidance_scale` up to 1) it works as well, and so does version 1.5.
    - Concepts are padded as a prompt is before T5 reads them, theirs to 16 tokens.
    - The pad tokens are equal, so one counts for all: the result is the same.
    - `concept_attention_kwargs` can be left out: all steps, and the first 30 of 42 layers as in their example.
    - Scores are float32, theirs bfloat16, and vectors are reduced to them at once: theirs take hundreds of GiB. With
      `cache_vectors=True` they are kept: of the chosen layers and steps, of the prompt's half, without pad tokens.
    - Cross attention maps are the authors': image queries after RoPE with concept keys, the mean of the heads; softmax
      over 226 tokens, the mean over layers, another softmax over the concepts, the mean over steps.

    Source: arXiv:2502.04320 and its published code.
    """

    family = CogVideoXFamily()
    cross_space = Space("rotated_image_q", "concept_k", mean_of_heads=True)
    vector_axes = "s b l n d"

    def __init__(
        self,
        model_name: str = "THUDM/CogVideoX-5b",
        device: str = "auto",
        offload_model: bool = False,
        *,
        pipeline: Any = None,
    ) -> None:
        super().__init__(pipeline, model_name, device, offload="model" if offload_model else "none")

    def generate_video(
        self,
        prompt: str,
        negative_prompt: str | None = None,
        concepts: Sequence[str] = (),
        height: int | None = None,
        width: int | None = None,
        num_frames: int | None = None,
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        concept_attention_kwargs: Mapping[str, Sequence[int]] | None = None,
        cache_vectors: bool = False,
        layer_indices: Sequence[int] | None = None,
        timestep_indices: Sequence[int] | None = None,
        *,
        seed: int = 0,
        return_pil_heatmaps: bool = True,
        softmax: bool = True,
        cmap: str = "plasma",
        pooling: Pooling = "first",
        return_cross_attention: bool = True,
    ) -> ConceptAttentionVideoOutput:
        """Generate a video and map its concepts; arguments in the order of the authors' call.

        Args:
            negative_prompt: used if `guidance_scale` is above 1.
            num_frames: 8 n + 1; None is the model's own number.
            num_inference_steps: None is the authors' 50.
            guidance_scale: of classifier-free guidance, up to 1 is off; None is the authors' 6.
            concept_attention_kwargs: `layers` and `timesteps`, which are read if the arguments below are None.
            cache_vectors: return the attention outputs of these layers and steps, each
                (steps, batch, layers, tokens, D).
            layer_indices: joint blocks to average.
            timestep_indices: steps to average, 0 is the first.
            cmap: any colour map of matplotlib; one scale for all concepts and frames.

        The other arguments and the errors are those of `ConceptAttentionFluxPipeline.generate_image`.
        """
        layers, steps = _chosen(concept_attention_kwargs, layer_indices, timestep_indices)
        wanted = Wanted(
            layers,
            steps,
            softmax,
            return_pil_heatmaps,
            cmap,
            cross=return_cross_attention,
            vectors=cache_vectors,
        )
        size = dict(width=width, height=height, frames=num_frames)
        options = dict(cfg=guidance_scale, seed=seed, pooling=pooling, mode="cogvideox")
        options["negative_prompt"] = negative_prompt or ""
        result, found = self._generate(prompt, concepts, wanted, num_inference_steps, **size, **options)
        return ConceptAttentionVideoOutput(video=result.videos[0], **found)

    def _cross_heatmaps(self, recording: Recording, wanted: Wanted, steps: Sequence[int]) -> Any:
        if not wanted.softmax:
            return super()._cross_heatmaps(recording, wanted, steps)
        maps = _cross_shares(recording, wanted.layers, steps)
        return draw(maps, wanted.cmap) if wanted.drawn else maps.values[0]


class ModifiedCogVideoXPipeline(CogVideoXPipeline):
    """The CogVideoX pipeline of diffusers, called with concepts, as the authors' class of that name.

    Heatmaps and cross attention maps are those of `ConceptAttentionCogVideoXPipeline`, whose differences are these as
    well. Besides:
    - Several videos are made if `num_videos_per_prompt` asks for them; theirs makes one. Maps are of the first.
    - Vectors are kept only with `cache_vectors=True`.

    Example:
        >>> from concept_attention.authors.cogvideox import ModifiedCogVideoXPipeline
        >>> from concept_attention.hosts.diffusers import load_pipeline
        >>> pipeline = ModifiedCogVideoXPipeline(**load_pipeline("tiny-cogvideox", device="cpu").components)
        >>> pipeline.set_progress_bar_config(disable=True)
        >>> video, maps = pipeline("a red boat", concepts=["boat", "sky"], height=64, width=64, num_frames=9,
        ...     num_inference_steps=2, concept_attention_kwargs={"layers": [0, 1], "timesteps": [1]})
        >>> len(video.frames[0]), maps["concept_attention_maps"].shape  # concepts, latent frames, rows, columns
        (9, torch.Size([2, 9, 4, 4]))

    Source: arXiv:2502.04320 and its published code.
    """

    @torch.no_grad()
    def __call__(
        self,
        prompt: str | list[str] | None = None,
        negative_prompt: str | list[str] | None = None,
        concepts: Sequence[str] | None = None,
        *arguments: Any,
        concept_attention_kwargs: Mapping[str, Any] | None = None,
        cache_vectors: bool = False,
        layer_indices: Sequence[int] | None = None,
        timestep_indices: Sequence[int] | None = None,
        return_dict: bool = True,
        **options: Any,
    ) -> Any:
        """Generate videos and map the concepts of the first.

        Args:
            concepts: what to look for, one text for each; None is diffusers' own call, with its own result.
            concept_attention_kwargs: `layers` and `timesteps` to average, which are read if the arguments below are
                None; None is the first 30 layers, and all steps.
            cache_vectors: return the attention outputs of these layers and steps as well.
            layer_indices, timestep_indices: joint blocks and steps, from 0.
            return_dict: False leaves the maps out, as in theirs.

        The other arguments are those of diffusers' pipeline.

        Returns:
            diffusers' output, with `.frames`, and a dict: `concept_attention_maps` and `cross_attention_maps`,
            (C, T, rows, columns), float32, T latent frames or pairs of them; `concept_output_vectors` and
            `image_output_vectors`, (steps, batch, layers, tokens, D), or None; `recording`. Without `return_dict`
            a tuple with the videos alone.

        Raises:
            UserError: for layers that do not exist, and as `record`.
        """
        if concepts is None:
            return super().__call__(prompt, negative_prompt, *arguments, return_dict=return_dict, **options)
        layers, steps = _chosen(concept_attention_kwargs, layer_indices, timestep_indices)
        wanted = Wanted(layers, steps, softmax=True, drawn=False, cmap="plasma", cross=True, vectors=cache_vectors)
        mapped = ConceptAttentionCogVideoXPipeline(pipeline=self)
        vectors = mapped.wanted_vectors(wanted, steps)
        tokens = options.get("max_sequence_length", 226)
        encoded = encode_concepts(self, literal_concepts(concepts), "first", tokens)
        with record(self, encoded, mode="cogvideox", on_vectors=vectors) as recording:
            output = super().__call__(prompt, negative_prompt, *arguments, return_dict=return_dict, **options)
        if not return_dict:
            return output
        found = mapped.found(recording, wanted, self.num_timesteps, vectors)
        return output, {"concept_attention_maps": found.pop("concept_heatmaps"), **found}


def _chosen(
    given: Mapping[str, Any] | None, layers: Sequence[int] | None, steps: Sequence[int] | None
) -> tuple[Sequence[int] | None, Sequence[int] | None]:
    """Layers and steps to average, from the authors' two ways to say them."""
    given = given or {}
    return given.get("layers") if layers is None else layers, given.get("timesteps") if steps is None else steps


def _cross_shares(recording: Recording, layers: Sequence[int] | None, steps: Sequence[int]) -> Heatmaps:
    """Shares of each step, a softmax over the concepts of these, then their mean."""
    of_steps = [make_heatmaps(recording, "auto" if layers is None else layers, step) for step in steps]
    return replace(of_steps[0], values=torch.stack([maps.values.softmax(dim=1) for maps in of_steps]).mean(0))
