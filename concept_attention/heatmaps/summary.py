"""Summaries of heatmaps: figures per concept, and a table of them for people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from ..concepts import Role, in_line
from ..errors import UserError
from .heatmaps import Heatmaps
from .masks import wins


@dataclass(frozen=True)
class ConceptSummary:
    """Figures of one concept over all images, frames and positions of a set of heatmaps.

    Attributes:
        name, role: of the concept.
        mean_share, peak_share: mean and greatest share, 0-1.
        area: fraction of positions where its share is greater than that of every other concept, 0-1.
        absent: whether it wins no position in any image.
    """

    name: str
    role: Role
    mean_share: float
    peak_share: float
    area: float
    absent: bool

    def as_dict(self) -> dict[str, str | float | bool]:
        """The attributes, ready for JSON."""
        return asdict(self)


def summarise(heatmaps: Heatmaps) -> list[ConceptSummary]:
    """Summarise every concept, in the order of the heatmaps.

    Args:
        heatmaps: of kind `share`, best at token resolution: area is then the fraction of tokens won.

    Returns:
        One summary per concept. One concept alone wins everywhere: it is compared with nothing.

    Raises:
        UserError: if the heatmaps are not of kind `share`.

    >>> from concept_attention import make_heatmaps
    >>> from concept_attention.recording.example import example_recording
    >>> [(one.name, round(one.area, 2)) for one in summarise(make_heatmaps(example_recording()))]
    [('sky', 0.42), ('house', 0.17), ('grass', 0.42)]
    """
    if heatmaps.kind != "share":
        raise UserError(f"A summary needs heatmaps of kind share, got {heatmaps.kind}. Use kind=share.")
    by_concept = heatmaps.values.transpose(0, 1)  # (C, B, ...)
    summaries = []
    for position, (concept, shares) in enumerate(zip(heatmaps.concepts, by_concept, strict=True)):
        won = wins(by_concept, [position])
        summaries.append(
            ConceptSummary(
                name=concept.name,
                role=concept.role,
                mean_share=float(shares.mean()),
                peak_share=float(shares.max()),
                area=float(won.double().mean()),
                absent=not bool(won.any()),
            )
        )
    return summaries


def summary_text(summaries: Sequence[ConceptSummary]) -> str:
    """A short table for people; absent concepts are named below it, and so is a concept without a rival.

    >>> from concept_attention import make_heatmaps
    >>> from concept_attention.recording.example import example_recording
    >>> print(summary_text(summarise(make_heatmaps(example_recording()))))
    concept             mean share  peak share    area
    sky                       0.39        0.81   41.7%
    house                     0.21        0.81   16.7%
    grass (background)        0.39        0.81   41.7%
    """
    if not summaries:
        raise ValueError("There is no concept to report on. Pass what `summarise` returned.")
    labels = [item.name + (" (background)" if item.role == "background" else "") for item in summaries]
    width = max(map(len, [*labels, "concept"]))
    lines = [f"{'concept':<{width}}  mean share  peak share    area"]
    for label, item in zip(labels, summaries, strict=True):
        label = in_line(f"{label:<{width}}")
        lines.append(f"{label}  {item.mean_share:10.2f}  {item.peak_share:10.2f}  {item.area:6.1%}")
    lines += [
        f"{in_line(item.name)}: absent (wins no token; peak share {item.peak_share:.2f})"
        for item in summaries
        if item.absent
    ]
    if len(summaries) == 1:
        lines.append(f"{in_line(summaries[0].name)}: the only concept, compared with nothing. Add others to compare.")
    return "\n".join(lines)
