"""What every host does between a joint block's attention outputs and the finished recording."""

from __future__ import annotations

import functools
import math
import platform
from collections.abc import Mapping, Sequence
from importlib import metadata
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from ..choices import Keep
from ..recording.averaging import AveragingBuilder
from ..recording.builder import RecordingBuilder
from ..recording.recording import Recording, recording_nbytes
from ..recording.shares import ShareRule
from ..scores import Mode, Vectors, resolve_mode, score_concepts
from ..selection import parse_layers
from .architecture import Architecture

if TYPE_CHECKING:
    from .encoded import EncodedConcepts

GIBIBYTE = 1 << 30


class LayerScores(NamedTuple):
    """What a recording keeps of one joint block.

    Attributes:
        scores: of every concept, (B, C, N), float32.
        norms: L2 norms of the concept vectors, (B, C), float32.
        pads: score of one of the equal pad tokens, (B, N), float32, where the mode has them.
    """

    scores: Tensor
    norms: Tensor
    pads: Tensor | None


class Collector:
    """Score attention outputs in one mode, and say with a finished recording what it was made from.

    Attributes:
        architecture: of the model.
        layers: joint blocks to keep, ascending.
        pad_count: pad tokens that the mode puts beside the concepts; all are equal, so one stands for them.
        embeddings: text-encoder embeddings, (R, E): of the concepts, of their context tokens, and one zero row for the
            pads where there are any.
        key_bias: logit bias of those rows as keys, (R,), or None where there are no pads.

    Args:
        encoded: the concepts.
        architecture: of the model.
        layers: joint blocks to keep, as `parse_layers` reads them.
        mode: key of `MODES`, or `auto`.

    Raises:
        ValueError: for layers that do not exist, an unknown mode, or embeddings of another text encoder.
    """

    def __init__(
        self, encoded: EncodedConcepts, architecture: Architecture, layers: str | Sequence[int], mode: str
    ) -> None:
        self.architecture = architecture
        self.layers = parse_layers(layers, architecture.joint_blocks, architecture.default_layers)
        self._mode: Mode = resolve_mode(mode, architecture.name)
        self._encoded = encoded
        width = encoded.embeddings.shape[-1]
        if width != architecture.text_width:
            raise ValueError(
                f"Concepts are encoded {width} wide, this model's text input is {architecture.text_width} wide. "
                "Encode them with the model's own text encoder."
            )
        self.pad_count = max(0, self._mode.padded_tokens - len(encoded.concepts))
        self.embeddings = encoded.rows()
        if self.pad_count:
            self.embeddings = torch.cat([self.embeddings, torch.zeros_like(self.embeddings[:1])])
        self.key_bias = pad_bias(len(self.embeddings), self.pad_count) if self.pad_count else None

    @property
    def reading(self) -> ShareRule:
        """How what is recorded becomes shares, in the mode it is recorded for."""
        return ShareRule(self._mode, self._mode.temperature, self.pad_count)

    def builder(self, keep: Keep = "every step", dtype: torch.dtype = torch.float32) -> RecordingBuilder:
        """What takes the scores of a run, in float32 or float16."""
        if keep == "every step":
            return RecordingBuilder(self.layers, dtype)
        return AveragingBuilder(self.layers, self.reading, len(self._encoded.concepts), dtype)

    def size_warning(self, steps: int, batch: int, tokens: int, keep: Keep, dtype: torch.dtype) -> str:
        """How much memory a run's recording will take, if that is more than 1 GiB; else "".

        Args:
            steps: to be recorded.
            batch: pictures or videos.
            tokens: of each.
            keep, dtype: as for `builder`.
        """
        concepts = len(self._encoded.concepts)
        columns = concepts + bool(self.pad_count)
        step = recording_nbytes(1, len(self.layers), batch, columns, tokens, dtype) / GIBIBYTE
        size = step if keep == "running mean" else step * steps
        if size <= 1:
            return ""
        return (
            f"This recording will take {size:.1f} GiB: {steps} steps, {len(self.layers)} layers, {concepts} concepts, "
            f"{batch * tokens} tokens. Record fewer layers or steps, or keep=running mean, which takes {step:.2f} GiB."
        )

    @torch.no_grad()
    def score(self, image_out: Tensor, concept_out: Tensor) -> LayerScores:
        """Score every token of the picture against every concept.

        Args:
            image_out: attention outputs of the picture's tokens, (B, N, D), any float dtype.
            concept_out: attention outputs of the rows of `embeddings`, (B, R, D), any float dtype.
        """
        vectors: Vectors = "linear" if self._mode.vectors == "linear" else "raw"
        pads = score_concepts(image_out, concept_out[:, -1:])[:, 0] if self.pad_count else None
        concept_out = concept_out[:, : len(self._encoded.concepts)]
        return LayerScores(score_concepts(image_out, concept_out, vectors), concept_out.float().norm(dim=-1), pads)

    def build(
        self,
        builder: RecordingBuilder,
        grid: tuple[int, int, int],
        image_size: tuple[int, int],
        notes: Mapping[str, str],
        made_with: Mapping[str, str],
        covered_size: tuple[int, int] | None = None,
        frame_counts: tuple[int, ...] | None = None,
    ) -> Recording:
        """The finished recording.

        Args:
            builder: with the committed steps.
            grid, image_size, covered_size, frame_counts: as of `Recording`.
            notes: go into the metadata, beside pooling, token counts and versions.
            made_with: version by name of everything that took part.

        Raises:
            ValueError: as `RecordingBuilder.build`.
        """
        counts = zip(self._encoded.concepts, self._encoded.token_counts, strict=True)
        return builder.build(
            layer_count=self.architecture.joint_blocks,
            default_layers=self.architecture.default_layers,
            grid=grid,
            image_size=image_size,
            covered_size=covered_size,
            frame_counts=frame_counts,
            architecture=self.architecture.name,
            mode=self._mode.name,
            concepts=self._encoded.concepts,
            pad_count=self.pad_count,
            metadata={
                **notes,
                **({"text_encoder": self._encoded.read_by} if self._encoded.read_by else {}),
                "pooling": self._encoded.pooling,
                "concept_tokens": ", ".join(f"{concept.name}: {count}" for concept, count in counts),
                "versions": ", ".join(f"{name} {version}" for name, version in made_with.items()),
            },
        )


def pad_bias(tokens: int, pad_count: int) -> Tensor:
    """Logit bias (tokens,) that lets the last token count for `pad_count` identical ones."""
    bias = torch.zeros(tokens)
    bias[-1] = math.log(pad_count)
    return bias


@functools.cache  # reading them takes as long as evaluating a small model
def versions(*packages: str) -> dict[str, str]:
    """Versions of Python, of this package and torch, and of `packages` as far as they are installed."""
    found = {"python": platform.python_version()}
    for package in ("concept-attention", "torch", *packages):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found
