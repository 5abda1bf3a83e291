"""The interface of the authors' own pipeline for CogVideoX, for code that was written for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from PIL.Image import Image
from torch import Tensor

from ....choices import Pooling
from ....recording.recording import Recording
from ..pipelines.cogvideox import CogVideoXFamily
from .base import AuthorsPipeline, HeatmapOptions, heatmaps


@dataclass(frozen=True, eq=False)
class ConceptAttentionVideoOutput:
    """One video and where its concepts are.

    Attributes:
        video: its frames.
        concept_heatmaps: per concept an image for each frame, of its size; or the values (C, T, rows, columns),
            float32, T latent frames or pairs of them.
        recording: every layer and step, to make other heatmaps from without running the model again.
    """

    video: list[Image]
    concept_heatmaps: list[list[Image]] | Tensor
    recording: Recording


class ConceptAttentionCogVideoXPipeline(AuthorsPipeline):
    """CogVideoX with concept attention, called as the authors' `ModifiedCogVideoXPipeline`.

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
    - Scores are float32, theirs bfloat16, and vectors are reduced to them at once: theirs take hundreds of GiB.
    - There are no cross attention maps.

    Source: arXiv:2502.04320 and its published code.
    """

    family = CogVideoXFamily()

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
        cache_vectors: bool = True,
        layer_indices: Sequence[int] | None = None,
        timestep_indices: Sequence[int] | None = None,
        *,
        seed: int = 0,
        return_pil_heatmaps: bool = True,
        softmax: bool = True,
        cmap: str = "plasma",
        pooling: Pooling = "first",
    ) -> ConceptAttentionVideoOutput:
        """Generate a video and map its concepts; arguments in the order of the authors' call.

        Args:
            negative_prompt: used if `guidance_scale` is above 1.
            num_frames: 8 n + 1; None is the model's own number.
            num_inference_steps: None is the authors' 50.
            guidance_scale: of classifier-free guidance, up to 1 is off; None is the authors' 6.
            concept_attention_kwargs: `layers` and `timesteps`, which are read if the arguments below are None.
            layer_indices: joint blocks to average.
            timestep_indices: steps to average, 0 is the first.
            cmap: any colour map of matplotlib; one scale for all concepts and frames.

        The other arguments and the errors are those of `ConceptAttentionFluxPipeline.generate_image`.
        """
        chosen = concept_attention_kwargs or {}
        layers = chosen.get("layers") if layer_indices is None else layer_indices
        steps = chosen.get("timesteps") if timestep_indices is None else timestep_indices
        wanted = HeatmapOptions(layers, steps, softmax, return_pil_heatmaps, cmap)
        size = dict(width=width, height=height, frames=num_frames)
        options = dict(cfg=guidance_scale, seed=seed, pooling=pooling, mode="cogvideox")
        options["negative_prompt"] = negative_prompt or ""
        result = self._generate(prompt, concepts, wanted, num_inference_steps, **size, **options)
        return ConceptAttentionVideoOutput(result.videos[0], heatmaps(result.recording, wanted), result.recording)
