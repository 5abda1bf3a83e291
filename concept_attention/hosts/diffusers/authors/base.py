"""What the classes with the authors' interfaces have in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from PIL.Image import Image
from torch import Tensor

from ....concepts import parse_concepts
from ....drawing.colormaps import check_colormap, colorize
from ....heatmaps.heatmaps import make_heatmaps
from ....heatmaps.resize import resize_maps, stretch
from ....images import from_pil, to_pil
from ....recording.recording import Recording
from ....selection import parse_layers, parse_steps
from ..analysis import analyze, image_to_tokens
from ..generation import Result, generate
from ..loading import defaults_for
from ..registry import adapter_for, family_of


@dataclass(frozen=True, eq=False)
class ConceptAttentionOutput:
    """One picture and where its concepts are.

    Attributes:
        image: the picture, generated or given; as RGB, upright.
        concept_heatmaps: per concept a picture of the size of `image`; or the values (C, rows, columns), float32.
        recording: every layer and step, to make other heatmaps from without running the model again.
    """

    image: Image
    concept_heatmaps: list[Image] | Tensor
    recording: Recording


@dataclass(frozen=True)
class Choice:
    """Which heatmaps a caller wants of a recording.

    Attributes:
        layers: joint blocks to average; None is the architecture's own choice.
        steps: recorded steps to average; None is all.
        softmax: shares; False gives the mean of the raw scores.
        pictures: drawn; False gives values.
        cmap: any colour map of matplotlib.
        temperature: of the softmax; None is the architecture's own.
    """

    layers: Sequence[int] | None
    steps: Sequence[int] | None
    softmax: bool
    pictures: bool
    cmap: str
    temperature: float | None = None


class AuthorsPipeline:
    """A pipeline called as the authors' class for its family.

    Args:
        pipeline: as `load_pipeline` gives it.
        family: the classes of pipelines that are possible.

    Raises:
        ValueError: for a pipeline of another family.
    """

    def __init__(self, pipeline: Any, family: Sequence[str]) -> None:
        if type(pipeline).__name__ not in family:
            raise ValueError(
                f"{type(self).__name__} needs a {' or '.join(family)}, got a {type(pipeline).__name__}. "
                "Choose the class of that family, or `generate` and `analyze`, which take all of them."
            )
        self.pipeline = pipeline

    def _generate(
        self, prompt: str, concepts: Sequence[str], choice: Choice, steps: int | None, **options: Any
    ) -> Result:
        """As `generate`, after a look at what would only be refused afterwards."""
        _check_single(prompt, str)
        self._check(choice)
        if choice.steps is not None:
            parse_steps(choice.steps, defaults_for(self.pipeline).steps if steps is None else steps)
        return generate(self.pipeline, prompt, parse_concepts(concepts), steps=steps, **options)

    def _generate_image(
        self, prompt: str, concepts: Sequence[str], choice: Choice, steps: int | None, **options: Any
    ) -> ConceptAttentionOutput:
        result = self._generate(prompt, concepts, choice, steps, **options)
        return ConceptAttentionOutput(result.images[0], heatmaps(result.recording, choice), result.recording)

    def _encode_image(
        self,
        image: Image,
        concepts: Sequence[str],
        choice: Choice,
        width: int | None,
        height: int | None,
        num_steps: int,
        step: int,
        **options: Any,
    ) -> ConceptAttentionOutput:
        """As `analyze`, at the noise level of a step, from 0, of a schedule of `num_steps`."""
        _check_single(image, Image)
        self._check(choice)
        image = to_pil(from_pil(image))
        rows, columns = image_to_tokens(image.size, width, height, defaults_for(self.pipeline).side)
        recording = analyze(
            self.pipeline,
            image,
            parse_concepts(concepts),
            noise=self._noise_level(num_steps, step, rows * columns),
            width=16 * columns,
            height=16 * rows,
            **options,
        )
        return ConceptAttentionOutput(image, heatmaps(recording, choice), recording)

    def _check(self, choice: Choice) -> None:
        """Refuse what only the heatmaps would refuse, before the model runs."""
        if choice.layers is not None:
            found = adapter_for(self.pipeline.transformer).describe(self.pipeline.transformer)
            parse_layers(choice.layers, found.joint_blocks, found.default_layers)
        check_colormap(choice.cmap)

    def _noise_level(self, num_steps: int, step: int, tokens: int) -> float:
        """Sigma (0-1) at a step of the model's own schedule for a picture of so many tokens."""
        if num_steps < 1:
            raise ValueError(f"There must be at least one step, got num_steps={num_steps}.")
        if not 0 <= step < num_steps:
            raise ValueError(
                f"noise_timestep {step} does not exist: a schedule of num_steps={num_steps} has 0 to {num_steps - 1}."
            )
        return family_of(self.pipeline).schedule_sigma(self.pipeline, num_steps, step, tokens)


def heatmaps(recording: Recording, choice: Choice) -> Any:
    """Values (C, [frames,] rows, columns), or pictures, min-maxed over all concepts together.

    Returns:
        Values of the first picture or video, float32; or one picture per concept, of a video one per picture frame.
    """
    share: Any = "stretched" if choice.pictures else "share"
    maps = make_heatmaps(
        recording,
        "auto" if choice.layers is None else choice.layers,
        "all" if choice.steps is None else choice.steps,
        temperature=choice.temperature,
        kind=share if choice.softmax else "score",
    )
    if not choice.pictures:
        return maps.values[0]
    maps = maps.per_frame() if maps.video else maps
    drawn = [resize_maps(one, recording.image_size) for one in stretch(maps.values[0])]
    if not maps.video:
        return [to_pil(colorize(one, choice.cmap)) for one in drawn]
    return [[to_pil(colorize(frame, choice.cmap)) for frame in one] for one in drawn]


def _check_single(given: Any, kind: type) -> None:
    if not isinstance(given, kind):
        raise ValueError(
            f"One {'prompt' if kind is str else 'picture'} at a time, got {type(given).__name__}. "
            "For batches use `generate` and `analyze` of concept_attention.hosts.diffusers."
        )
