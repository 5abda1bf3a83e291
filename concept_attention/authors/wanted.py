"""Which heatmaps of a run are wanted, and what else of it: cross attention maps and the vectors themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from einops import rearrange
from torch import Tensor

from ..choices import Kind
from ..concepts import Concept
from ..drawing.colormaps import colorize
from ..errors import UserError
from ..heatmaps.heatmaps import Heatmaps, make_heatmaps
from ..heatmaps.resize import resize_maps, stretch
from ..images import to_pil
from ..recording.recording import Recording
from ..selection import parse_steps
from ..vectors import JointVectors, KeptVectors, Space, SpaceScores


@dataclass(frozen=True)
class Wanted:
    """What is wanted of a run.

    Attributes:
        layers: joint blocks to average; None is the architecture's own choice.
        steps: sampler steps to average; None is all.
        softmax: shares; False gives the mean of the raw scores.
        drawn: as images; False gives values.
        cmap: any colour map of matplotlib.
        temperature: of the softmax; None is the architecture's own.
        cross: cross attention maps as well.
        vectors: the attention outputs as well.
    """

    layers: Sequence[int] | None
    steps: Sequence[int] | None
    softmax: bool
    drawn: bool
    cmap: str
    temperature: float | None = None
    cross: bool = False
    vectors: bool = False


class WantedVectors:
    """Looks at the vectors of a run for what is wanted besides heatmaps; the `on_vectors` of the run, if anything is.

    Args:
        wanted: of the run.
        space: the authors' cross attention of the family; None if there is none.
        axes: their order of the axes of vectors: s(teps), l(ayers), b(atch), n (tokens), d.
        layers, steps: to keep vectors of; None is all steps.
    """

    OUTPUTS: ClassVar[tuple[str, str]] = ("concept_out", "image_out")

    def __init__(
        self, wanted: Wanted, space: Space | None, axes: str, layers: Sequence[int], steps: Sequence[int] | None
    ) -> None:
        self._cross = SpaceScores(space) if wanted.cross and space else None
        self._vectors = KeptVectors(self.OUTPUTS, layers, steps) if wanted.vectors else None
        self._axes = axes
        self.active = bool(self._cross or self._vectors)

    def __call__(self, step: int, layer: int, vectors: JointVectors) -> None:
        for looking in (self._cross, self._vectors):
            if looking is not None:
                looking(step, layer, vectors)

    def cross_recording(self, recording: Recording) -> Recording | None:
        """The recording of the run with the scores of its cross attention, if that was wanted."""
        return None if self._cross is None else self._cross.recording(recording)

    def vectors(self, recording: Recording) -> Mapping[str, Tensor | None]:
        """The attention outputs by the names that the authors give them."""
        if self._vectors is None:
            return {"concept_output_vectors": None, "image_output_vectors": None}
        concepts, image = (
            rearrange(self._vectors.stack(name, recording.steps), f"s l b n d -> {self._axes}") for name in self.OUTPUTS
        )
        concepts = concepts[..., : len(recording.concepts), :]  # without the row of padding tokens
        return {"concept_output_vectors": concepts, "image_output_vectors": image}


def literal_concepts(concepts: Sequence[str]) -> tuple[Concept, ...]:
    """One concept for each text, word for word, as the authors take them: a colon is a colon, a text may be repeated.

    Raises:
        UserError: for one text in place of several, and as `Concept`.

    >>> [concept.name for concept in literal_concepts(["ratio 16:9", "sky", "sky"])]
    ['ratio 16:9', 'sky', 'sky (2)']
    """
    if isinstance(concepts, str):
        raise UserError(f'Concepts are a list of texts, got one text. Write ["{concepts}"].')
    made: list[Concept] = []
    for text in concepts:
        if isinstance(text, str):
            before = sum(one.text == text for one in made)
            made.append(Concept(f"{text} ({before + 1})" if before else text, text))
        else:
            raise UserError(f"A concept is a text, got {type(text).__name__}.")
    if not made:
        raise UserError("There are no concepts. Give at least one.")
    return tuple(made)


def recorded_positions(recording: Recording, steps: Sequence[int] | None, count: int) -> tuple[int, ...]:
    """The positions in a recording of sampler steps; of all, if `steps` is None.

    Args:
        recording: of a run. A cache may have kept some of its steps from being recorded.
        steps: sampler steps, negative from the end.
        count: sampler steps of the run.

    Raises:
        UserError: if none of the steps was recorded, or one does not exist.
    """
    if steps is None:
        return tuple(range(len(recording.steps)))
    chosen = parse_steps(steps, count)
    positions = tuple(position for position, step in enumerate(recording.steps) if step in chosen)
    if not positions:
        raise UserError(
            f"None of the steps {', '.join(map(str, chosen))} was recorded: {_missing(recording)}. "
            f"Choose among {', '.join(map(str, recording.steps))}."
        )
    return positions


def heatmaps(recording: Recording, wanted: Wanted, steps: Sequence[int]) -> Any:
    """Heatmaps of the first image or video of a recording.

    Args:
        steps: positions in the recording to average.

    Returns:
        Values (C, [frames,] rows, columns), float32; or images, min-maxed over all concepts together: one per
            concept, of a video one per concept and frame.
    """
    share: Kind = "stretched" if wanted.drawn else "share"
    maps = make_heatmaps(
        recording,
        "auto" if wanted.layers is None else wanted.layers,
        steps,
        temperature=wanted.temperature,
        kind=share if wanted.softmax else "score",
    )
    return draw(maps, wanted.cmap) if wanted.drawn else maps.values[0]


def draw(maps: Heatmaps, cmap: str) -> Any:
    """The first image or video of heatmaps as images, see `heatmaps`."""
    maps = maps.per_frame() if maps.video else maps
    resized = [resize_maps(one, maps.image_size) for one in stretch(maps.values[0])]
    if not maps.video:
        return [to_pil(colorize(one, cmap)) for one in resized]
    return [[to_pil(colorize(frame, cmap)) for frame in one] for one in resized]


def _missing(recording: Recording) -> str:
    return recording.metadata.get("troubles", "the run had fewer steps")
