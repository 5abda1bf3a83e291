"""Summaries of heatmaps: figures per concept, and a table of them for people."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

from ..concepts import Concept, Role, in_line
from ..errors import UserError
from .heatmaps import Heatmaps
from .masks import wins
from .presence import ConceptPresence

# Short lines: nodes do not wrap them.
NO_BACKGROUND = (
    "No background: a concept also wins what nobody named, even if it is absent.\n"
    "Name what else is in the image as background."
)
_WHOLE = 0.99  # shares that add up to less are not all there is


@dataclass(frozen=True)
class ConceptSummary:
    """Figures of one concept over all images, frames and positions of a set of heatmaps.

    Attributes:
        name, role: of the concept.
        mean_share, peak_share: mean and greatest share, 0-1.
        area: fraction of positions where its share is greater than that of every other concept, 0-1.
        absent: whether its presence is below the threshold in every image. Without presence: whether it wins no
            position in any image; None where that cannot be known: it wins some, but without a background what nobody
            named has to go to a concept, too.
        presence: the greatest of all images, 0-1; None where it was not recorded.
    """

    name: str
    role: Role
    mean_share: float
    peak_share: float
    area: float
    absent: bool | None
    presence: float | None = None

    def as_dict(self) -> dict[str, str | float | bool | None]:
        """The attributes, ready for JSON."""
        return asdict(self)


def summarise(heatmaps: Heatmaps, presence: Sequence[ConceptPresence] | None = None) -> list[ConceptSummary]:
    """Summarise every concept, in the order of the heatmaps.

    Args:
        heatmaps: of kind `share`, best at token resolution: area is then the fraction of tokens won.
        presence: of the same concepts, from `find_present`, if it was recorded.

    Returns:
        One summary per concept. One concept alone wins everywhere: it is compared with nothing. Whether a concept is
        in the image is known only if what else is in it is named.

    Raises:
        UserError: if the heatmaps are not of kind `share`.

    >>> from concept_attention import make_heatmaps
    >>> from concept_attention.recording.example import example_recording
    >>> [(one.name, round(one.area, 2)) for one in summarise(make_heatmaps(example_recording()))]
    [('sky', 0.42), ('house', 0.17), ('grass', 0.42)]
    """
    if heatmaps.kind != "share":
        raise UserError(f"A summary needs heatmaps of kind share, got {heatmaps.kind}. Use kind=share.")
    known = _has_background(heatmaps.concepts)
    by_concept = heatmaps.values.transpose(0, 1)  # (C, B, ...)
    summaries = []
    for position, (concept, shares) in enumerate(zip(heatmaps.concepts, by_concept, strict=True)):
        won = wins(by_concept, [position])
        found = None if presence is None else presence[position]
        wins_none = (False if known else None) if won.any() else True
        summaries.append(
            ConceptSummary(
                name=concept.name,
                role=concept.role,
                mean_share=float(shares.mean()),
                peak_share=float(shares.max()),
                area=float(won.double().mean()),
                absent=wins_none if found is None else not any(found.present),
                presence=None if found is None else max(found.scores),
            )
        )
    return summaries


def summary_text(summaries: Sequence[ConceptSummary]) -> str:
    """A short table for people; below it, absent concepts, and what the numbers do not say.

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
    measured = summaries[0].presence is not None
    lines = [f"{'concept':<{width}}  mean share  peak share    area" + "  presence" * measured]
    for label, item in zip(labels, summaries, strict=True):
        label = in_line(f"{label:<{width}}")
        presence = "" if item.presence is None else f"  {item.presence:8.2f}"
        lines.append(f"{label}  {item.mean_share:10.2f}  {item.peak_share:10.2f}  {item.area:6.1%}{presence}")
    lines += [f"{in_line(item.name)}: absent ({_why(item)})" for item in summaries if item.absent]
    if len(summaries) == 1:
        lines.append(f"{in_line(summaries[0].name)}: the only concept, compared with nothing. Add others to compare.")
    elif not _has_background(summaries):
        lines.append(NO_BACKGROUND)
    total = sum(item.mean_share for item in summaries)
    if total < _WHOLE:
        lines.append(
            f"The shares add up to {total:.2f}: padding tokens have the rest. Mode flux gives all to the concepts."
        )
    return "\n".join(lines)


def _why(item: ConceptSummary) -> str:
    if item.presence is None:
        return f"wins no token; peak share {item.peak_share:.2f}"
    return f"presence {item.presence:.2f}"


def _has_background(concepts: Iterable[Concept | ConceptSummary]) -> bool:
    return any(concept.role == "background" for concept in concepts)
