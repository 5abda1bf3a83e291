"""What to look for in a data set, and how."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from ..choices import METHODS, DtypeName, Method, Offload, Pooling, Reader, check_choice
from ..concepts import Concept
from ..errors import UserError


@dataclass(frozen=True)
class MaskSettings:
    """How heatmaps become masks.

    Attributes:
        names: of the concepts that get masks.
        mask, threshold, percentile, blur: method of the masks and its numbers, see `make_masks`.
        min_presence: concepts whose presence, 0-1, is lower are left out.
    """

    names: tuple[str, ...]
    mask: Method = "argmax"
    threshold: float = 0.5
    percentile: float = 90.0
    blur: float = 0.0
    min_presence: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        """All settings, ready for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class LabelSettings:
    """What to look for in every picture, and how. The same settings give the same labels.

    Attributes:
        concepts: from `parse_concepts`; background concepts get no masks.
        model: see `load_pipeline`; a model for images.
        dtype, offload: see `load_pipeline`.
        prompt: what every picture shows; may be empty.
        noise, samples, width, height: see `analyze`.
        seed: the seed of a picture's noise is made from this and the picture's id.
        layers, mode, pooling, reader: see `analyze`.
        temperature: see `make_heatmaps`.
        mask, threshold, percentile, blur, min_presence: see `MaskSettings`.
        steps, guidance, cfg, negative_prompt: see `generate`; only for pictures made from prompts.
        batch: how many pictures of one size the model gets at once.

    Raises:
        UserError: for a number out of range, or one concept that there is nothing to compare with.

    >>> from concept_attention import parse_concepts
    >>> LabelSettings(parse_concepts("dog, ball", background="grass")).names
    ('dog', 'ball')
    """

    concepts: tuple[Concept, ...]
    model: str = "tiny"
    dtype: DtypeName = "auto"
    offload: Offload = "none"
    prompt: str = ""
    noise: float = 0.5
    samples: int = 1
    width: int | None = None
    height: int | None = None
    seed: int = 0
    layers: str = "auto"
    mode: str = "auto"
    pooling: Pooling = "auto"
    reader: Reader = "auto"
    temperature: float | None = None
    mask: Method = "argmax"
    threshold: float = 0.5
    percentile: float = 90.0
    blur: float = 0.0
    min_presence: float = 0.0
    steps: int | None = None
    guidance: float | None = None
    cfg: float | None = None
    negative_prompt: str = ""
    batch: int = 8

    def __post_init__(self) -> None:
        check_choice("Mask method", self.mask, METHODS)
        if len(self.concepts) < 2:
            raise UserError(
                "One concept alone has nothing to be compared with: its masks would be all white. Name what else is in "
                "the pictures as background."
            )
        if not 0 <= self.min_presence <= 1:
            raise UserError(f"The least presence is from 0 to 1, got {self.min_presence:g}.")
        if self.batch < 1:
            raise UserError(f"A batch is at least one picture, got {self.batch}.")

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the concepts that get masks."""
        return tuple(concept.name for concept in self.concepts if concept.role == "concept")

    def as_dict(self) -> dict[str, Any]:
        """All settings, ready for JSON."""
        return asdict(self)

    @property
    def masks(self) -> MaskSettings:
        """How the heatmaps become masks."""
        return MaskSettings(self.names, self.mask, self.threshold, self.percentile, self.blur, self.min_presence)
