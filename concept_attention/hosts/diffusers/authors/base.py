"""The base class of all classes with the authors' interfaces."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from PIL.Image import Image
from torch import Tensor

from ....choices import Kind, Offload
from ....concepts import parse_concepts
from ....drawing.colormaps import check_colormap, colorize
from ....errors import UserError
from ....heatmaps.heatmaps import make_heatmaps
from ....heatmaps.resize import resize_maps, stretch
from ....images import from_pil, to_pil
from ....recording.recording import Recording
from ....selection import parse_layers, parse_steps
from ..analysis import analyze, image_to_tokens
from ..generation import Result, generate
from ..loading import defaults_for, load_pipeline
from ..pipelines.family import PipelineFamily
from ..registry import adapter_for


@dataclass(frozen=True, eq=False)
class ConceptAttentionOutput:
    """One image and where its concepts are.

    Attributes:
        image: generated or given; as RGB, upright.
        concept_heatmaps: per concept an image of the size of `image`; or the values (C, rows, columns), float32.
        recording: every layer and step, to make other heatmaps from without running the model again.
    """

    image: Image
    concept_heatmaps: list[Image] | Tensor
    recording: Recording


@dataclass(frozen=True)
class HeatmapOptions:
    """Which heatmaps of a recording are wanted.

    Attributes:
        layers: joint blocks to average; None is the architecture's own choice.
        steps: recorded steps to average; None is all.
        softmax: shares; False gives the mean of the raw scores.
        drawn: as images; False gives values.
        cmap: any colour map of matplotlib.
        temperature: of the softmax; None is the architecture's own.
    """

    layers: Sequence[int] | None
    steps: Sequence[int] | None
    softmax: bool
    drawn: bool
    cmap: str
    temperature: float | None = None


class AuthorsPipeline:
    """A pipeline with the interface of the authors' class for its family.

    Attributes:
        family: of the pipelines that are possible.
        pipeline: the loaded pipeline.

    Args:
        pipeline: a loaded pipeline; None loads `model_name`.
        model_name, device, dtype, offload: see `load_pipeline`.

    Raises:
        UserError: as `load_pipeline`, and for a pipeline of another family.
    """

    family: ClassVar[PipelineFamily]

    def __init__(
        self, pipeline: Any, model_name: str, device: str, *, dtype: str = "auto", offload: Offload = "none"
    ) -> None:
        if pipeline is None:
            pipeline = load_pipeline(model_name, device, dtype, offload)
        possible, given = self.family.pipelines, type(pipeline).__name__
        if not any(kind.__name__ in possible for kind in type(pipeline).__mro__):
            raise UserError(
                f"{type(self).__name__} needs a {' or '.join(possible)}, got a {given}. "
                "Choose the class of that family, or `generate` and `analyze`, which take all of them."
            )
        self.pipeline = pipeline

    def _generate(
        self, prompt: str, concepts: Sequence[str], wanted: HeatmapOptions, steps: int | None, **options: Any
    ) -> Result:
        """`generate`, after checks of what would otherwise fail only after the run."""
        _check_single(prompt, str)
        self._check(wanted)
        if wanted.steps is not None:
            parse_steps(wanted.steps, defaults_for(self.pipeline).steps if steps is None else steps)
        return generate(self.pipeline, prompt, parse_concepts(concepts), steps=steps, **options)

    def _check(self, wanted: HeatmapOptions) -> None:
        """Check what only the heatmaps would refuse, before the model runs."""
        if wanted.layers is not None:
            found = adapter_for(self.pipeline.transformer).describe(self.pipeline.transformer)
            parse_layers(wanted.layers, found.joint_blocks, found.default_layers)
        check_colormap(wanted.cmap)

    def _generate_image(
        self, prompt: str, concepts: Sequence[str], wanted: HeatmapOptions, steps: int | None, **options: Any
    ) -> ConceptAttentionOutput:
        result = self._generate(prompt, concepts, wanted, steps, **options)
        return ConceptAttentionOutput(result.images[0], heatmaps(result.recording, wanted), result.recording)

    def _encode_image(
        self,
        image: Image,
        concepts: Sequence[str],
        wanted: HeatmapOptions,
        size: tuple[int | None, int | None],
        num_steps: int,
        step: int,
        **options: Any,
    ) -> ConceptAttentionOutput:
        """`analyze` at a size (width, height), at the noise level of a step, from 0, of a schedule of `num_steps`."""
        _check_single(image, Image)
        self._check(wanted)
        image = to_pil(from_pil(image))
        rows, columns = image_to_tokens(image.size, *size, defaults_for(self.pipeline).side)
        recording = analyze(
            self.pipeline,
            image,
            parse_concepts(concepts),
            noise=self._noise_level(num_steps, step, rows * columns),
            width=16 * columns,
            height=16 * rows,
            **options,
        )
        return ConceptAttentionOutput(image, heatmaps(recording, wanted), recording)

    def _noise_level(self, num_steps: int, step: int, tokens: int) -> float:
        """Noise level, 0-1, at a step of the model's own schedule for an image of `tokens` image tokens."""
        if num_steps < 1:
            raise UserError(f"There must be at least one step, got num_steps={num_steps}.")
        if not 0 <= step < num_steps:
            raise UserError(
                f"noise_timestep {step} does not exist: a schedule of num_steps={num_steps} has 0 to {num_steps - 1}."
            )
        return self.family.schedule_sigma(self.pipeline, num_steps, step, tokens)


def heatmaps(recording: Recording, wanted: HeatmapOptions) -> Any:
    """Heatmaps of the first image or video of a recording.

    Returns:
        Values (C, [frames,] rows, columns), float32; or images, min-maxed over all concepts together: one per
            concept, of a video one per concept and frame.
    """
    share: Kind = "stretched" if wanted.drawn else "share"
    maps = make_heatmaps(
        recording,
        "auto" if wanted.layers is None else wanted.layers,
        "all" if wanted.steps is None else wanted.steps,
        temperature=wanted.temperature,
        kind=share if wanted.softmax else "score",
    )
    if not wanted.drawn:
        return maps.values[0]
    maps = maps.per_frame() if maps.video else maps
    resized = [resize_maps(one, recording.image_size) for one in stretch(maps.values[0])]
    if not maps.video:
        return [to_pil(colorize(one, wanted.cmap)) for one in resized]
    return [[to_pil(colorize(frame, wanted.cmap)) for frame in one] for one in resized]


def _check_single(given: Any, kind: type) -> None:
    if not isinstance(given, kind):
        raise UserError(
            f"One {'prompt' if kind is str else 'image'} at a time, got {type(given).__name__}. "
            "For batches use `generate` and `analyze` of concept_attention.hosts.diffusers."
        )
