"""Whether a concept is in an image at all: its presence, whatever else was asked for."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

from torch import Tensor

from ..concepts import Role, in_line
from ..errors import UserError
from ..recording.recording import Recording
from .heatmaps import Heatmaps, make_heatmaps

THRESHOLD = 0.5  # from here on a concept counts as present
PEAK = 0.01  # fraction of the tokens that a score is the mean of: the smallest thing that counts


@dataclass(frozen=True)
class ConceptPresence:
    """Whether one concept is in the images.

    Attributes:
        name, role: of the concept.
        scores: of every image (or video), 0-1.
        present: of every image, whether its score reaches the threshold.
    """

    name: str
    role: Role
    scores: tuple[float, ...]
    present: tuple[bool, ...]

    @property
    def score(self) -> float:
        """The least of all images."""
        return min(self.scores)

    def as_dict(self) -> dict[str, str | list[float] | list[bool]]:
        """The attributes, ready for JSON."""
        return {**asdict(self), "scores": list(self.scores), "present": list(self.present)}


def presence_scores(maps: Tensor) -> Tensor:
    """Presence of every concept in every image: the mean of the highest hundredth of its map, at least one token.

    Args:
        maps: presence, (B, C, ...), 0-1 or log-odds, at token resolution.

    Returns:
        (B, C), as the maps.

    >>> import torch
    >>> presence_scores(torch.tensor([[[0.1, 0.9], [0.2, 0.3]]])).tolist()
    [[0.8999999761581421, 0.30000001192092896]]
    """
    tokens = maps.flatten(2)
    most = max(1, math.ceil(PEAK * tokens.shape[-1]))
    return tokens.topk(most, dim=-1).values.mean(dim=-1)


def find_present(
    source: Recording | Heatmaps,
    threshold: float = THRESHOLD,
    layers: str | int | Sequence[int] = "auto",
    steps: str | int | Sequence[int] = "all",
) -> list[ConceptPresence]:
    """Score every concept of a recording, in its order, as present or absent.

    Args:
        source: a recording with presence, or heatmaps of kind `presence` at token resolution.
        threshold: 0-1; a concept whose score reaches it is present.
        layers, steps: of a recording, see `make_heatmaps`.

    Raises:
        UserError: for a recording without presence, heatmaps of another kind, or a threshold out of range; and as
            `make_heatmaps`.

    >>> from concept_attention.recording.example import example_recording
    >>> [(one.name, one.present) for one in find_present(example_recording(presence=True))]
    [('sky', (True,)), ('house', (True,)), ('grass', (True,))]
    """
    if not 0 <= threshold <= 1:
        raise UserError(f"A threshold is a presence, 0 to 1; got {threshold}.")
    heatmaps = source if isinstance(source, Heatmaps) else make_heatmaps(source, layers, steps, kind="presence")
    if heatmaps.kind != "presence":
        raise UserError(f"Presence is read from heatmaps of kind presence, got {heatmaps.kind}. Use kind=presence.")
    scores = presence_scores(heatmaps.values).T.tolist()
    return [
        ConceptPresence(concept.name, concept.role, tuple(own), tuple(score >= threshold for score in own))
        for concept, own in zip(heatmaps.concepts, scores, strict=True)
    ]


def presence_text(found: Iterable[ConceptPresence]) -> str:
    """One line per concept: present, absent, or in how many of the images it is.

    >>> print(presence_text([ConceptPresence("boat", "concept", (0.91,), (True,))]))
    boat: present (0.91)
    """
    lines = []
    for one in found:
        count = sum(one.present)
        what = "present" if count == len(one.present) else "absent"
        if 0 < count < len(one.present):
            what = f"present in {count} of {len(one.present)}"
        scores = ", ".join(f"{score:.2f}" for score in one.scores[:8]) + (", ..." if len(one.scores) > 8 else "")
        lines.append(f"{in_line(one.name)}: {what} ({scores})")
    return "\n".join(lines)


def same_places(heatmaps: Heatmaps, threshold: float = THRESHOLD, least: float = 0.5) -> list[tuple[str, str, float]]:
    """Pairs of concepts that are in one place, the most alike first.

    Args:
        heatmaps: of kind `presence`.
        threshold: 0-1; a concept is where its map reaches it.
        least: intersection over union, 0-1, from which on two places are one.

    Returns:
        Both names, and the intersection over union of where they are, over all images.
    """
    areas = (heatmaps.values >= threshold).transpose(0, 1).flatten(1)
    names = [concept.name for concept in heatmaps.concepts]
    pairs = []
    for first in range(len(names)):
        for second in range(first + 1, len(names)):
            either = int((areas[first] | areas[second]).sum())
            overlap = int((areas[first] & areas[second]).sum()) / either if either else 0.0
            if overlap >= least:
                pairs.append((names[first], names[second], overlap))
    return sorted(pairs, key=lambda pair: -pair[2])
