"""From the concept stream of a run to its recording."""

from __future__ import annotations

import functools
import platform
from collections.abc import Mapping, Sequence
from importlib import metadata
from typing import Any

import torch
from torch import Tensor

from ...recording import Recording, RecordingBuilder
from ...scores import Mode, Vectors, resolve_mode, score_concepts
from ...selection import parse_layers
from ..encoded import EncodedConcepts
from .registry import adapter_for
from .stream import ConceptStream


class Recorder:
    """Record the concepts of one run: use `watching()` around it, `commit` after each step, `build` at the end.

    Of the evaluations between two commits only the first is observed: where a pipeline evaluates twice per step, the
    first is the conditional one.

    Args:
        pipeline: a diffusers pipeline with a joint-attention transformer.
        encoded: the concepts.
        layers: joint blocks to keep, as `parse_layers` reads them.
        mode: key of `MODES`, or `auto`.
        tokens: image tokens of the picture; what follows them (a reference picture's) is attended to, not mapped.
        dtype: of the kept scores, float32 or float16.

    Raises:
        ValueError: for an unsupported transformer, layers that do not exist, an unknown mode, or embeddings of
            another text encoder.
    """

    def __init__(
        self,
        pipeline: Any,
        encoded: EncodedConcepts,
        layers: str | Sequence[int],
        mode: str,
        tokens: int,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self._transformer = pipeline.transformer
        self.architecture = adapter_for(self._transformer).describe(self._transformer)
        self._encoded = encoded
        self._layers = parse_layers(layers, self.architecture.joint_blocks, self.architecture.default_layers)
        self._mode: Mode = resolve_mode(mode, self.architecture.name)
        self._tokens = tokens
        self._builder = RecordingBuilder(self._layers, dtype)
        self._observed = False
        width = encoded.embeddings.shape[-1]
        if width != self.architecture.text_width:
            raise ValueError(
                f"Concepts are encoded {width} wide, this model's text input is {self.architecture.text_width} wide. "
                "Encode them with the model's own text encoder."
            )
        self._pad_count = max(0, self._mode.padded_tokens - len(encoded.concepts))

    def watching(self, stop: bool = False) -> ConceptStream:
        """The concept stream to enter for the run; `stop` ends each forward pass after the last kept layer."""
        embeddings = self._encoded.embeddings
        if self._pad_count:
            embeddings = torch.cat([embeddings, torch.zeros_like(embeddings[:1])])
        return ConceptStream(
            self._transformer,
            embeddings,
            self._score,
            self._layers[-1],
            wanted=self._begin,
            stop=stop,
            pad_count=self._pad_count,
        )

    def commit(self, step: int, sigma: float) -> bool:
        """Keep what the step delivered; False if it delivered nothing. `sigma` is its noise level, 0-1."""
        self._observed = False
        return self._builder.commit(step, sigma)

    def build(
        self, grid: tuple[int, int, int], image_size: tuple[int, int], notes: Mapping[str, str]
    ) -> Recording:
        """The finished recording; `notes` go into its metadata, beside versions and token counts."""
        counts = zip(self._encoded.concepts, self._encoded.token_counts, strict=True)
        return self._builder.build(
            layer_count=self.architecture.joint_blocks,
            default_layers=self.architecture.default_layers,
            grid=grid,
            image_size=image_size,
            architecture=self.architecture.name,
            mode=self._mode.name,
            concepts=self._encoded.concepts,
            pad_count=self._pad_count,
            metadata={
                **notes,
                "pooling": self._encoded.pooling,
                "concept_tokens": ", ".join(f"{concept.name}: {count}" for concept, count in counts),
                "versions": ", ".join(f"{name} {version}" for name, version in versions().items()),
            },
        )

    def _begin(self) -> bool:
        if self._observed:
            return False
        self._observed = True
        self._builder.begin_evaluation()
        return True

    @torch.no_grad()
    def _score(self, layer: int, image_out: Tensor, concept_out: Tensor) -> None:
        if layer not in self._layers:
            return
        vectors: Vectors = "linear" if self._mode.vectors == "linear" else "raw"
        image_out = image_out[:, : self._tokens]
        pads = score_concepts(image_out, concept_out[:, -1:])[:, 0] if self._pad_count else None
        concept_out = concept_out[:, : len(self._encoded.concepts)]
        scores = score_concepts(image_out, concept_out, vectors)
        self._builder.add_layer(layer, scores, concept_out.float().norm(dim=-1), pads)


@functools.cache  # reading them takes as long as evaluating a small model
def versions() -> dict[str, str]:
    """Versions of what makes a recording."""
    packages = ("concept-attention", "torch", "diffusers", "transformers")
    found = {"python": platform.python_version()}
    for package in packages:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found
