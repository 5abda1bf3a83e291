"""From a joint block's attention outputs to the finished recording, for both hosts."""

from __future__ import annotations

import functools
import math
import platform
from collections.abc import Mapping, Sequence
from importlib import metadata
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..choices import Keep, Reading
from ..errors import UserError
from ..recording.averaging import AveragingBuilder
from ..recording.builder import RecordingBuilder
from ..recording.half import reads_norms
from ..recording.recording import Recording, recording_nbytes
from ..recording.shares import ShareRule, own_rule
from ..scores import Mode, Vectors, resolve_mode, score_concepts
from ..selection import parse_layers, usual_layers
from ..text_attention import TextAttention, cross_scores, gram_scores, resize_scores
from .architecture import Architecture
from .encoded import ConceptText, EncodedConcepts

GIBIBYTE = 1 << 30

Grid = tuple[int, int, int]  # tokens (T, H, W)


class LayerScores(NamedTuple):
    """Scores of one joint block.

    Attributes:
        scores: of every image token against every concept, (B, C, N), float32.
        norms: L2 norms of the concept vectors, (B, C), float32.
        pad_scores: of every image token against one of the identical padding tokens, (B, N), float32; None if there are
            none.
        presence: log-odds of every concept against the null words, (B, C, N), float32; None without null words.
    """

    scores: Tensor
    norms: Tensor
    pad_scores: Tensor | None
    presence: Tensor | None = None

    def select(self, rows: slice) -> LayerScores:
        """The scores of some rows of the batch."""
        return LayerScores(*(None if part is None else part[rows] for part in self))  # type: ignore[arg-type]


class Collector:
    """Scores attention outputs in one mode, and builds the recording with its metadata.

    Attributes:
        architecture: of the model.
        layers: joint blocks to record, ascending.
        pad_count: number of padding tokens that the architecture or the mode adds to the concepts; all are identical,
            so one row stands for them.
        embeddings: text embeddings of the concepts, of their context tokens, and one zero row if there are padding
            tokens, (R, E).
        key_bias: logit bias of these rows as keys, (R,); None without padding tokens.
        apart: rows that attend to themselves, to the padding tokens and to the image only: the concepts again, the
            null words, and one zero row if there are padding tokens; None without null words.

    Args:
        encoded: the concepts.
        architecture: of the model.
        layers: joint blocks to record; see `parse_layers`.
        mode: key of `MODES`, or `auto`.

    Raises:
        UserError: for layers that do not exist, an unknown mode or one whose reading the model does not allow, or
            embeddings of another text encoder.
    """

    def __init__(
        self,
        encoded: EncodedConcepts,
        architecture: Architecture,
        layers: str | int | Sequence[int],
        mode: str,
    ) -> None:
        self.architecture = architecture
        self.layers = parse_layers(layers, architecture.layer_count, architecture.default_layers)
        self._mode: Mode = resolve_mode(mode, architecture.name, architecture.reading)
        if self._mode.reading == "concept" and architecture.reading != "concept":
            raise UserError(
                f"Mode {self._mode.name} needs joint blocks, and this model has cross-attention only. "
                "Choose auto, cross or gram."
            )
        self._encoded = encoded
        width = encoded.embeddings.shape[-1]
        if width != architecture.text_width:
            raise UserError(
                f"Concept embeddings have width {width}, but this model expects {architecture.text_width}. "
                "Encode the concepts with the model's own text encoder."
            )
        pads = pads_beside(len(encoded.concepts), architecture, self._mode)
        self.pad_count = pads if self.reading == "concept" else 0
        self.embeddings = encoded.rows()
        if self.pad_count:
            self.embeddings = torch.cat([self.embeddings, torch.zeros_like(self.embeddings[:1])])
        self.key_bias = pad_bias(len(self.embeddings), self.pad_count) if self.pad_count else None
        null = encoded.null_words if self._mode.reading == "concept" else None
        self._null = null
        self.apart = None if null is None else null.apart(encoded.embeddings, pads_beside(1, architecture, self._mode))

    @property
    def reading(self) -> Reading:
        """What is read of the model's attention."""
        return self._mode.reading

    @property
    def texts(self) -> tuple[ConceptText, ...]:
        """The concepts' texts, for the readings that need their tokens."""
        return self._encoded.as_texts()

    @property
    def share_rule(self) -> ShareRule:
        """The rule that turns the recorded scores into shares."""
        return own_rule(self._mode, self.pad_count)

    def builder(self, keep: Keep = "every step", dtype: torch.dtype = torch.float32) -> RecordingBuilder:
        """A builder for the scores of one run; `dtype` is that of the recording, float32 or float16."""
        if keep == "every step":
            return RecordingBuilder(self.layers, dtype, reads_norms(self._mode.name))
        return AveragingBuilder(self.layers, self.share_rule, len(self._encoded.concepts), dtype)

    def size_warning(self, steps: int, batch: int, tokens: int, keep: Keep, dtype: torch.dtype) -> str:
        """A message that says how much memory the recording will take, if that exceeds 1 GiB; else "".

        Args:
            steps: number of steps to record.
            batch: number of images or videos.
            tokens: image tokens of each.
            keep, dtype: see `builder`.
        """
        concepts = len(self._encoded.concepts)
        pads = self.pad_count if keep == "every step" else self.share_rule.pad_count
        columns = concepts + bool(pads)
        present = 0 if self.apart is None else concepts
        step = recording_nbytes(1, len(self.layers), batch, columns, tokens, dtype, present) / GIBIBYTE
        size = step if keep == "running mean" else step * steps
        if size <= 1:
            return ""
        return (
            f"This recording will take {size:.1f} GiB: {steps} steps, {len(self.layers)} layers, {concepts} concepts, "
            f"{batch * tokens} tokens. Record fewer layers or steps, or keep=running mean, which takes {step:.2f} GiB."
        )

    @torch.no_grad()
    def score(self, image_out: Tensor, concept_out: Tensor, apart_out: Any = None) -> LayerScores:
        """Score every image token against every concept.

        Args:
            image_out: attention outputs of the image tokens, (B, N, D), any float dtype.
            concept_out: attention outputs of the rows of `embeddings`, (B, R, D), any float dtype.
            apart_out: those of the rows of `apart`, (B, R, D); not needed where there are none.
        """
        vectors: Vectors = "linear" if self._mode.vectors == "linear" else "raw"
        pad_scores = score_concepts(image_out, concept_out[:, -1:])[:, 0] if self.pad_count else None
        concept_out = concept_out[:, : len(self._encoded.concepts)]
        scores = score_concepts(image_out, concept_out, vectors)
        presence = None
        if self._null is not None:
            presence = self._null.log_odds(image_out, apart_out, self._encoded.concepts, self._mode)
        return LayerScores(scores, concept_out.float().norm(dim=-1), pad_scores, presence)

    def score_text(self, attention: TextAttention, grid: Grid, wanted: Grid) -> LayerScores:
        """Score every image token against every concept by a layer's attention between image and text.

        Args:
            attention: of the layer.
            grid: tokens (T, H, W) of the layer.
            wanted: those of the recording.
        """
        cross = self.reading == "cross"
        scores = cross_scores(attention) if cross else gram_scores(attention, grid[0])
        scores = resize_scores(scores, grid, wanted, logarithms=cross)
        return LayerScores(scores, torch.ones_like(scores[..., 0]), None)

    @torch.no_grad()
    def shares(self, layers: Mapping[int, LayerScores]) -> Tensor:
        """Shares of one step, (B, C, N), float32: over the layers that `auto` means in a recording.

        Args:
            layers: scores of all recorded layers.
        """
        usual = usual_layers(self.layers, self.architecture.default_layers)
        values = [self.share_rule.values(*layers[layer][:3]) for layer in usual]
        return self.share_rule.shares(torch.stack(values).mean(dim=0))

    def build(
        self,
        builder: RecordingBuilder,
        grid: Grid,
        image_size: tuple[int, int],
        notes: Mapping[str, str],
        software_versions: Mapping[str, str],
        covered_size: tuple[int, int] | None = None,
        frame_counts: tuple[int, ...] | None = None,
        region_masks: Mapping[str, Tensor] | None = None,
    ) -> Recording:
        """Build the recording.

        Args:
            builder: with the committed steps.
            grid, image_size, covered_size, frame_counts, region_masks: see `Recording`.
            notes: for the metadata, beside text encoder, pooling, token counts and versions.
            software_versions: version by name of the software that made the recording.

        Raises:
            ValueError: see `RecordingBuilder.build`.
        """
        counts = zip(self._encoded.concepts, self._encoded.token_counts, strict=True)
        return builder.build(
            layer_count=self.architecture.layer_count,
            default_layers=self.architecture.default_layers,
            grid=grid,
            image_size=image_size,
            covered_size=covered_size,
            frame_counts=frame_counts,
            architecture=self.architecture.name,
            mode=self._mode.name,
            concepts=self._encoded.concepts,
            pad_count=self.pad_count,
            region_masks=region_masks,
            metadata={
                **notes,
                **({"text_encoder": self._encoded.read_by} if self._encoded.read_by else {}),
                "pooling": self._encoded.pooling if self.reading == "concept" else self._read_tokens(),
                **({"asked": "\n".join(self._encoded.asked)} if self._encoded.asked else {}),
                **({"null_words": ", ".join(null.words)} if (null := self._encoded.null_words) and self.apart else {}),
                "concept_tokens": ", ".join(f"{concept.name}: {count}" for concept, count in counts),
                "versions": ", ".join(f"{name} {version}" for name, version in software_versions.items()),
            },
        )

    def _read_tokens(self) -> str:
        """Which of its tokens a concept was read by, where it was not by an embedding."""
        read = max(text.own[1] - text.own[0] for text in self.texts)
        one_of_several = read == 1 < max(self._encoded.token_counts)
        return self._encoded.pooling if one_of_several else "mean of the attention to all tokens"


def pads_beside(concepts: int, architecture: Architecture, mode: Mode) -> int:
    """Number of padding tokens beside so many concepts."""
    return max(0, max(architecture.padded_tokens, mode.padded_tokens) - concepts)


def pad_bias(tokens: int, pad_count: int) -> Tensor:
    """Logit bias (tokens,) that makes the last token count as `pad_count` identical ones."""
    bias = torch.zeros(tokens)
    bias[-1] = math.log(pad_count)
    return bias


@functools.cache  # as slow as evaluating a small model
def versions(*packages: str) -> dict[str, str]:
    """Versions of Python, this package, torch, and those of `packages` that are installed."""
    found = {"python": platform.python_version()}
    for package in ("concept-attention", "torch", *packages):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found
