"""The base class of all classes with the authors' interfaces."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from PIL.Image import Image

from ..choices import Offload
from ..drawing.colormaps import check_colormap
from ..errors import UserError
from ..hosts.diffusers.adapters import adapter_for
from ..hosts.diffusers.analysis import analyze, shown_size
from ..hosts.diffusers.generation import Result, generate
from ..hosts.diffusers.loading import defaults_for, load_pipeline
from ..hosts.diffusers.pipelines.family import PipelineFamily
from ..hosts.diffusers.pipelines.request import model_name as loaded_name
from ..images import from_pil, to_pil
from ..recording.recording import Recording
from ..selection import parse_layers, parse_steps
from ..vectors import Space
from .output import ConceptAttentionOutput
from .wanted import Wanted, WantedVectors, heatmaps, literal_concepts, recorded_positions


class AuthorsPipeline:
    """A pipeline with the interface of the authors' class for its family.

    Attributes:
        family: of the pipelines that are possible.
        cross_space: the vectors that the authors compare for cross attention maps; None if they return none.
        vector_axes: their order of the axes of vectors, see `WantedVectors`.
        pipeline: the loaded pipeline.
        model_name: as it was given, or where `pipeline` was loaded from.

    Args:
        pipeline: a loaded pipeline; None loads `model_name`.
        model_name, device, dtype, offload: see `load_pipeline`.

    Raises:
        UserError: as `load_pipeline`, and for a pipeline of another family.
    """

    family: ClassVar[PipelineFamily]
    cross_space: ClassVar[Space | None] = None
    vector_axes: ClassVar[str] = "s l b n d"

    def __init__(
        self, pipeline: Any, model_name: str, device: str, *, dtype: str = "auto", offload: Offload = "none"
    ) -> None:
        self.model_name = model_name if pipeline is None else loaded_name(pipeline)
        if pipeline is None:
            pipeline = load_pipeline(model_name, device, dtype, offload)
        possible, given = self.family.pipelines, type(pipeline).__name__
        if not any(kind.__name__ in possible for kind in type(pipeline).__mro__):
            raise UserError(
                f"{type(self).__name__} needs a {' or '.join(possible)}, got a {given}. "
                "Choose the class of that family, or `generate` and `analyze`, which take all of them."
            )
        self.pipeline = pipeline

    @property
    def device(self) -> torch.device:
        """The device that the model computes on."""
        return self.pipeline._execution_device

    def _generate(
        self, prompt: str, concepts: Sequence[str], wanted: Wanted, steps: int | None, **options: Any
    ) -> tuple[Result, dict[str, Any]]:
        """`generate`, after checks of what would otherwise fail only after the run; and all that is wanted of it."""
        _check_single(prompt, str)
        self._check(wanted)
        count = defaults_for(self.pipeline).steps if steps is None else steps
        kept = None if wanted.steps is None else parse_steps(wanted.steps, count)
        vectors = self.wanted_vectors(wanted, kept)
        result = generate(
            self.pipeline,
            prompt,
            literal_concepts(concepts),
            steps=steps,
            on_vectors=vectors if vectors.active else None,
            **options,
        )
        return result, self.found(result.recording, wanted, count, vectors)

    def _check(self, wanted: Wanted) -> None:
        """Check what only the heatmaps would refuse, before the model runs."""
        self._layers(wanted)
        check_colormap(wanted.cmap)

    def _layers(self, wanted: Wanted) -> tuple[int, ...]:
        found = adapter_for(self.pipeline.transformer).describe(self.pipeline.transformer)
        layers = "auto" if wanted.layers is None else wanted.layers
        return parse_layers(layers, found.layer_count, found.default_layers)

    def wanted_vectors(self, wanted: Wanted, steps: Sequence[int] | None) -> WantedVectors:
        """What looks at the vectors of a run; `steps` are those to keep vectors of, None is all."""
        return WantedVectors(wanted, self.cross_space, self.vector_axes, self._layers(wanted), steps)

    def found(self, recording: Recording, wanted: Wanted, count: int, vectors: WantedVectors) -> dict[str, Any]:
        """What the output has besides the image, of a run of `count` steps."""
        steps = recorded_positions(recording, wanted.steps, count)
        cross = vectors.cross_recording(recording)
        return {
            "concept_heatmaps": heatmaps(recording, wanted, steps),
            "cross_attention_maps": None if cross is None else self._cross_heatmaps(cross, wanted, steps),
            "recording": recording,
            **vectors.vectors(recording),
        }

    def _cross_heatmaps(self, recording: Recording, wanted: Wanted, steps: Sequence[int]) -> Any:
        """Cross attention maps of a recording of its scores; as `heatmaps`."""
        return heatmaps(recording, wanted, steps)

    def _generate_image(
        self, prompt: str, concepts: Sequence[str], wanted: Wanted, steps: int | None, **options: Any
    ) -> ConceptAttentionOutput:
        result, found = self._generate(prompt, concepts, wanted, steps, **options)
        return ConceptAttentionOutput(image=result.images[0], **found)

    def _encode_image(
        self,
        image: Image,
        concepts: Sequence[str],
        wanted: Wanted,
        size: tuple[int | None, int | None],
        num_steps: int,
        step: int,
        **options: Any,
    ) -> ConceptAttentionOutput:
        """`analyze` at a size (width, height), at the noise level of a step, from 0, of a schedule of `num_steps`."""
        _check_single(image, Image)
        self._check(wanted)
        image = to_pil(from_pil(image))
        width, height = shown_size(self.pipeline, image.size, *size)
        tokens = self.family.layout(self.pipeline, width, height, 1).tokens
        vectors = self.wanted_vectors(wanted, None)
        recording = analyze(
            self.pipeline,
            image,
            literal_concepts(concepts),
            noise=self.noise_level(num_steps, step, tokens),
            width=width,
            height=height,
            on_vectors=vectors if vectors.active else None,
            **options,
        )
        return ConceptAttentionOutput(image=image, **self.found(recording, wanted, len(recording.steps), vectors))

    def noise_level(self, num_steps: int, step: int, tokens: int) -> float:
        """Noise level, 0-1, at a step of the model's own schedule for an image of `tokens` image tokens."""
        if num_steps < 1:
            raise UserError(f"There must be at least one step, got num_steps={num_steps}.")
        if not 0 <= step < num_steps:
            raise UserError(
                f"noise_timestep {step} does not exist: a schedule of num_steps={num_steps} has 0 to {num_steps - 1}."
            )
        return self.family.schedule_sigma(self.pipeline, num_steps, step, tokens)


def _check_single(given: Any, kind: type) -> None:
    if not isinstance(given, kind):
        raise UserError(
            f"One {'prompt' if kind is str else 'image'} at a time, got {type(given).__name__}. "
            "For batches use `generate` and `analyze` of concept_attention.hosts.diffusers."
        )
