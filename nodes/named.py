"""Names of concepts, as a user writes them in a widget, to the concepts that they mean."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from ..concept_attention.concepts import Concept, concept_index, parse_concepts
from ..concept_attention.errors import UserError
from ..concept_attention.heatmaps.heatmaps import Heatmaps
from ..concept_attention.hosts.comfyui.engine.early_stop import StopRule
from ..concept_attention.prompt_words import prompt_concepts


def to_names(text: str, available: Sequence[Concept]) -> list[str]:
    """Concept names from a text, separated by commas or one per line; the first available one if the text is empty.

    Raises:
        UserError: if a name occurs twice or is not available; the message lists the available ones.
    """
    if not text.strip():
        return [available[0].name]
    written = [concept.name for concept in parse_concepts(text)]
    return [available[concept_index(available, name)].name for name in written]


def to_some_names(text: str, available: Sequence[Concept]) -> list[str]:
    """Concept names from a text, see `to_names`; none if the text is empty."""
    return to_names(text, available) if text.strip() else []


def to_name(text: str, available: Sequence[Concept]) -> str:
    """One concept name, see `to_names`.

    Raises:
        UserError: see `to_names`; also for more than one name.
    """
    names = to_names(text, available)
    if len(names) > 1:
        raise UserError(f"This node draws one concept, got {', '.join(names)}. Use one node for each.")
    return names[0]


def to_concepts_and_asked(concepts: str, background: str, prompt: str) -> tuple[tuple[Concept, ...], tuple[str, ...]]:
    """Concepts as written and those of a prompt, the background last, and the names of those that the prompt asks for.

    Raises:
        UserError: see `parse_concepts`; also if neither names anything.
    """
    if not prompt.strip():
        return parse_concepts(concepts, background), ()
    written = parse_concepts(concepts, background) if concepts.strip() or background.strip() else ()
    found = prompt_concepts(prompt, written)
    together = sorted((*written, *found), key=lambda concept: concept.role == "background")
    if not together:
        raise UserError(f'The prompt names nothing to look for: "{prompt.strip()}". Write concepts instead.')
    names = {phrase.name.casefold() for phrase in prompt_concepts(prompt)}
    return tuple(together), tuple(concept.name for concept in together if concept.name.casefold() in names)


def to_wanted(text: str, available: Sequence[Concept], asked: str = "") -> list[str]:
    """Names of wanted concepts, see `to_names`; if the text is empty, those asked for, or all but the background."""
    if text.strip():
        return to_names(text, available)
    if asked:
        return asked.splitlines()
    return [concept.name for concept in available if concept.role == "concept"]


def to_stop_rule(text: str, after: float, below: float, available: Sequence[Concept]) -> StopRule | None:
    """When a run ends early: the names of concepts in a text, see `to_names`; None if it is empty."""
    return StopRule(tuple(to_names(text, available)), after, below) if text.strip() else None


def to_labels(text: str, heatmaps: Heatmaps | None, mask: Tensor | None) -> tuple[str, ...]:
    """Names of the concepts to save.

    Args:
        text: as a user writes it; empty is all concepts that are not background, or `mask`.
        heatmaps, mask: one of them.

    Raises:
        UserError: if neither or both are connected; see also `to_names`.
    """
    if (heatmaps is None) == (mask is None):
        found = "neither is" if mask is None else "both are"
        raise UserError(f"Masks come from heatmaps or from a mask, and {found} connected. Connect one of them.")
    if heatmaps is None:
        return (parse_concepts(text)[0].name,) if text.strip() else ("mask",)
    if text.strip():
        return tuple(to_names(text, heatmaps.concepts))
    return tuple(concept.name for concept in heatmaps.concepts if concept.role == "concept")
