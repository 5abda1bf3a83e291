"""What a set of heatmaps says about each concept, in numbers and in a few lines of text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from ..concepts import Role
from .heatmaps import Heatmaps
from .masks import wins


@dataclass(frozen=True)
class ConceptSummary:
    """One concept over all pictures, frames and places of a set of heatmaps.

    Attributes:
        name, role: of the concept.
        mean_share, peak_share: mean and greatest share, 0-1.
        area: fraction of places where its share is greater than that of every other concept, 0-1.
        absent: whether it wins no place in any picture.
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
        ValueError: if the heatmaps are not of kind `share`.
    """
    if heatmaps.kind != "share":
        raise ValueError(f"A summary needs heatmaps of kind share, got {heatmaps.kind}. Use kind=share.")
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
    """A short table for people; absent concepts are named below it, and so is a concept without a rival."""
    if not summaries:
        raise ValueError("There is no concept to report on. Pass what `summarise` returned.")
    labels = [item.name + (" (background)" if item.role == "background" else "") for item in summaries]
    width = max(map(len, [*labels, "concept"]))
    lines = [f"{'concept':<{width}}  mean share  peak share    area"]
    for label, item in zip(labels, summaries, strict=True):
        lines.append(f"{label:<{width}}  {item.mean_share:10.2f}  {item.peak_share:10.2f}  {item.area:6.1%}")
    lines += [
        f"{item.name}: absent (wins no token; peak share {item.peak_share:.2f})"
        for item in summaries
        if item.absent
    ]
    if len(summaries) == 1:
        lines.append(f"{summaries[0].name}: the only concept, compared with nothing. Add others to compare.")
    return "\n".join(lines)
