"""Ending a run early, when a wanted concept is still absent after a part of its steps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ....choices import READING_NAMES, Reading
from ....concepts import Concept, concept_index
from ....errors import UserError
from ....heatmaps.presence import THRESHOLD, presence_scores
from ....selection import usual_layers

if TYPE_CHECKING:
    from ...collector import Collector
    from ...encoded import EncodedConcepts
    from .session import RecordingSession


@dataclass(frozen=True)
class StopRule:
    """When a run ends early.

    Attributes:
        wanted: names of the concepts that must be there.
        after: part of the run's steps (0-1) after which presence is checked, once.
        below: presence (0-1) under which a concept is absent; infinity ends every run there.

    Raises:
        UserError: if no concept is wanted, or for numbers out of range.
    """

    wanted: tuple[str, ...]
    after: float = 0.4
    below: float = THRESHOLD

    def __post_init__(self) -> None:
        if not self.wanted:
            raise UserError("No concept is wanted. Name at least one that must be in the image.")
        if not 0 < self.after <= 1:
            raise UserError(f"Presence is checked after a part of the steps above 0, up to 1; got {self.after:g}.")
        if self.below != math.inf and not 0 <= self.below <= 1:
            raise UserError(f"A threshold is a presence, 0 to 1; got {self.below:g}.")

    def check(self, encoded: EncodedConcepts) -> None:
        """Check that the presence of the wanted concepts will be recorded; a UserError says why not."""
        for name in self.wanted:
            concept_index(encoded.concepts, name)
        if encoded.null_words is None:
            raise UserError(
                "These concepts have no null words to measure presence against. Encode them with presence switched on, "
                "and not with the reader clip."
            )

    def check_reading(self, reading: Reading) -> None:
        """Check that a run of this reading records presence; a UserError says why not."""
        if reading != "concept":
            raise UserError(
                "Whether a concept is absent is measured by concept attention, and this run reads "
                f"{READING_NAMES[reading]}. Choose a model with joint blocks, and no mode cross or gram."
            )

    def is_due(self, step: int, steps: int) -> bool:
        """Whether presence is checked after a 0-based step of a run with `steps` steps."""
        return step + 1 == min(steps, max(1, math.ceil(self.after * steps - 1e-6)))


class StoppedEarly(Exception):
    """Ends a sampler's loop; `EarlyEnd.sampler_sample` catches it."""


class EarlyEnd:
    """The end of one run by a rule.

    Args:
        rule: when it ends.
        session: that records it.
        collector: of the session.
        concepts: that are recorded.

    Attributes:
        presence: of every concept when it was checked, 0-1, the least of the batch; empty before, and if the step was
            not recorded.
        text: why the run ended, or why it could not; "" if it ran to its end.
        steps_left: that were not sampled.
    """

    def __init__(
        self, rule: StopRule, session: RecordingSession, collector: Collector, concepts: Sequence[Concept]
    ) -> None:
        self._rule = rule
        self._session = session
        self._concepts = tuple(concepts)
        self._wanted = [concept_index(concepts, name) for name in rule.wanted]
        self._kept = [
            collector.layers.index(layer)
            for layer in usual_layers(collector.layers, collector.architecture.default_layers)
        ]
        self.presence: dict[str, float] = {}
        self.text = ""
        self.steps_left = 0

    def after_step(self, step: int, steps: int) -> None:
        """Check presence, if it is time to; call it once the session has recorded the step.

        Raises:
            StoppedEarly: if a wanted concept is absent.
        """
        if not self._rule.is_due(step, steps):
            return
        scores = self._measure(step)
        if scores is None:
            self.text = f"Step {step + 1} was not recorded, so nothing is known of what is present."
            return
        self.presence = {concept.name: score for concept, score in zip(self._concepts, scores, strict=True)}
        names = [self._concepts[index].name for index in self._wanted]
        absent = [f"{name} {self.presence[name]:.2f}" for name in names if self.presence[name] < self._rule.below]
        if absent and step + 1 < steps:
            self.steps_left = steps - step - 1
            self.text = f"Stopped after step {step + 1} of {steps}. Absent there, by presence: {', '.join(absent)}."
            raise StoppedEarly

    def sampler_sample(self, executor: Any, *args: Any, **kwargs: Any) -> Any:
        """A SAMPLER_SAMPLE wrapper: what the sampler returns or, of a run that ends early, its latest x0."""
        try:
            return executor(*args, **kwargs)
        except StoppedEarly:
            return self._session.denoised

    def _measure(self, step: int) -> list[float] | None:
        """Presence in the step that was just recorded, over the usual layers; None if it was not."""
        found = self._session.builder.presence_in(step)
        if found is None:
            return None
        return presence_scores(found[self._kept].float().mean(dim=0)).sigmoid().amin(dim=0).tolist()
