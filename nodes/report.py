"""Plain-text reports that nodes show below themselves after a run."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from ..concept_attention.choices import READING_NAMES
from ..concept_attention.concepts import in_line
from ..concept_attention.heatmaps.heatmaps import Heatmaps, make_heatmaps, select_layers
from ..concept_attention.heatmaps.summary import NO_BACKGROUND, summarise, summary_text
from ..concept_attention.hosts.encoded import EncodedConcepts
from ..concept_attention.labelling.items import Totals
from ..concept_attention.recording.recording import Recording
from ..concept_attention.scores import MODES
from ..concept_attention.selection import parse_steps

KIBIBYTE = 1 << 10
MEBIBYTE = 1 << 20


def encoding_text(result: EncodedConcepts) -> str:
    """Token count of every concept, how several tokens became one embedding, and whether there is a background."""
    lines = []
    for concept, tokens in zip(result.concepts, result.token_counts, strict=True):
        role = " (background)" if concept.role == "background" else ""
        lines.append(f"{in_line(concept.name)}{role}: {_count(tokens, 'token')}{_pooled(tokens, result.pooling)}")
    if all(concept.role == "concept" for concept in result.concepts):
        lines.append(NO_BACKGROUND)
    return "\n".join(lines)


def _pooled(tokens: int, pooling: str) -> str:
    if tokens == 1:
        return ""
    return f", {'mean of all' if pooling in ('auto', 'mean') else f'only the {pooling} one is used'}"


def recording_text(result: Recording) -> str:
    """Steps, layers, concepts and size of a recording, what to know about the run, and why something is missing."""
    frames, height, width = result.grid
    grid = f"{width} x {height} tokens" + (f" x {frames} frames" if result.video else "")
    if result.frame_counts is not None:
        grid += f" ({sum(result.frame_counts)} in the video)"
    steps = result.metadata.get("steps", _count(len(result.steps), "step"))
    if result.averaged is not None:
        steps += " as their mean"
    return (
        f"{steps}, layers {_ranges(result.layers)} of {result.layer_count}, "
        f"{_count(len(result.concepts), 'concept')}{_reading(result)}\n"
        f"{_count(result.batch, 'video' if result.video else 'image')} of {grid}, {_size(result.nbytes)}"
        f"{_remarks(result)}"
    )


def _reading(recording: Recording) -> str:
    """What was read, where it is not concept attention."""
    return "" if recording.reading == "concept" else f", reading: {READING_NAMES[recording.reading]}"


def _remarks(result: Recording) -> str:
    """What to know about the run, and why something is missing, in lines of their own."""
    lines = result.metadata.get("cautions", "").splitlines()
    if problems := result.metadata.get("troubles"):
        lines.append(f"Not everything was recorded: {problems}.")
    return "".join(f"\n{line}" for line in lines)


def heatmaps_text(
    recording: Recording, layers: str, steps: str, mode: str, temperature: float | None, heatmaps: Heatmaps
) -> str:
    """What the heatmaps were made from, and a summary of every concept.

    Args:
        recording: the recording they were made from.
        layers, steps, mode, temperature: what `make_heatmaps` was called with.
        heatmaps: of any kind; the summary is always of shares.
    """
    chosen = _ranges(select_layers(recording, layers))
    used = f"{len(parse_steps(steps, len(recording.steps)))} of {_count(len(recording.steps), 'recorded step')}"
    if recording.averaged is not None:
        used = "mean of all recorded steps"
    name = recording.mode if mode == "auto" else mode
    divisor = MODES[name].temperature if temperature is None else temperature
    if heatmaps.kind != "share":
        heatmaps = make_heatmaps(recording, layers, steps, mode, temperature)
    return (
        f"layers {chosen} of {recording.layer_count}, {used}\n"
        f"mode {name}, temperature {divisor:g}{_reading(recording)}\n"
        f"{summary_text(summarise(heatmaps))}"
    )


def mask_text(names: Sequence[str], masks: Tensor) -> str:
    """Fraction of each image that its mask covers; masks (B, H, W)."""
    areas = ", ".join(f"{float(mask.mean()):.1%}" for mask in masks[:8])
    more = f" and {len(masks) - 8} more" if len(masks) > 8 else ""
    return f"{' + '.join(map(in_line, names))}: {areas}{more} of the {'image' if len(masks) == 1 else 'images'}"


def _ranges(numbers: Sequence[int]) -> str:
    """Ascending numbers in the syntax of `layers` and `steps`: 0-3, 7."""
    parts: list[list[int]] = []
    for number in numbers:
        if parts and number == parts[-1][-1] + 1:
            parts[-1].append(number)
        else:
            parts.append([number])
    return ", ".join(f"{part[0]}" if len(part) == 1 else f"{part[0]}-{part[-1]}" for part in parts)


def _size(nbytes: int) -> str:
    return f"{nbytes / MEBIBYTE:.1f} MiB" if nbytes >= MEBIBYTE else f"{nbytes / KIBIBYTE:.0f} KiB"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def dataset_text(added: int, totals: Totals, folder: str) -> str:
    """What was added to a data set, and what it holds now."""
    lines = [f"Added {added} picture{'s'[: added != 1]} to {folder}, which has {totals.pictures} now."]
    if totals.left_out:
        lines.append(f"{totals.left_out} left out so far: no concept is present.")
    return "\n".join(lines)
