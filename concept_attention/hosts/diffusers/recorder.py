"""From the concept stream of a run to its recording."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor

from ...choices import ATTENDS, KEEPS, Attends, Keep, check_choice
from ...errors import UserError
from ...recording.recording import Recording
from ...text_attention import TextAttention
from ...vectors import JointVectors, OnVectors
from ..collector import Collector, Grid, versions
from ..encoded import EncodedConcepts
from .adapters import adapter_for
from .cross_stream import CrossStream
from .eager import eager, running_eager
from .named import Arguments
from .networks import network_of, networks_of
from .run_hooks import RunHooks
from .stream import ConceptStream

logger = logging.getLogger("concept_attention")

HOST = ("diffusers", "transformers")  # packages whose versions a recording names


class Recorder:
    """Record the concepts of one run: use `watching()` around it, `commit` after each step, `build` at the end.

    Of the evaluations between two commits only the first is observed: where a pipeline evaluates twice per step, the
    first is the conditional one.

    Args:
        pipeline: a diffusers pipeline with a supported network.
        encoded: the concepts.
        layers: to keep, see `parse_layers`.
        mode: key of `MODES`, or `auto`.
        tokens: target image tokens; the tokens after them, of a reference image, are attended to and not recorded.
        dtype: of the kept scores, float32 or float16.
        rows: images of the run, the last of each evaluation; None is all.
        keep: every step, or their running mean.
        on_vectors: called with (step, layer, vectors) in every joint block that is kept, of every evaluation that is
            observed; see `concept_attention.vectors`.
        attends: what the concepts attend to; see `choices.Attends`.

    Raises:
        UserError: for an unsupported transformer, layers that do not exist, an unknown mode, or embeddings of
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
        rows: int | None = None,
        keep: Keep = "every step",
        on_vectors: OnVectors | None = None,
        attends: Attends = "both",
    ) -> None:
        check_choice("keep", keep, KEEPS)
        check_choice("attends", attends, ATTENDS)
        self._attends: Attends = attends
        self._pipeline = pipeline
        self._transformer = eager(network_of(pipeline))
        self.architecture = adapter_for(self._transformer).describe(self._transformer)
        self._collector = Collector(encoded, self.architecture, layers, mode)
        if self._collector.reading != "concept" and (on_vectors is not None or attends != "both"):
            raise UserError(
                f"Mode {self._collector.reading} has no vectors of concepts to show, and they attend to nothing. "
                "Leave `on_vectors` and `attends` out."
            )
        self._tokens = tokens
        self._rows = rows
        self._builder = self._collector.builder(keep, dtype)
        self._keep, self._dtype = keep, dtype
        self._on_vectors = on_vectors
        self._observed = False
        self._steps = 0  # committed or missing
        self._problems: dict[str, None] = {}  # why steps are missing, each reason once

    def size_warning(self, steps: int, batch: int) -> str:
        """How much memory the recording of a run will take, if that is more than 1 GiB; else ""."""
        return self._collector.size_warning(steps, batch, self._tokens, self._keep, self._dtype)

    @contextmanager
    def watching(self, stop_after_last_layer: bool = False) -> Iterator[None]:
        """Observe the run, which may end each forward pass after the last kept layer."""
        with ExitStack() as undo:
            for network in networks_of(self._pipeline).values():
                undo.enter_context(self._hooks(network, stop_after_last_layer))
            undo.enter_context(running_eager(self._pipeline))
            yield

    def _hooks(self, network: Any, stop_after_last_layer: bool) -> RunHooks:
        """What observes one of the pipeline's networks."""
        if self.architecture.reading != "concept":
            return CrossStream(
                network,
                self._collector.texts,
                self._score_text,
                self._collector.layers,
                observe=self._observe,
                on_problem=self._note,
                stop_after_last_layer=stop_after_last_layer,
            )
        return ConceptStream(
            network,
            self._collector.embeddings,
            self._score,
            self._collector.layers[-1],
            observe=self._observe,
            on_problem=self._note,
            stop_after_last_layer=stop_after_last_layer,
            pad_count=self._collector.pad_count,
            apart=self._collector.apart,
            on_vectors=None if self._on_vectors is None else self._show,
            attends=self._attends,
            on_text=None if self._collector.reading == "concept" else self._score_joint_text,
        )

    def commit(self, step: int, sigma: float) -> bool:
        """Keep what the step delivered; False if it delivered nothing. `sigma` is its noise level, 0-1."""
        self._observed = False
        self._steps += 1
        return self._builder.commit(step, sigma)

    def build(
        self,
        grid: tuple[int, int, int],
        image_size: tuple[int, int],
        notes: Mapping[str, str],
        frame_counts: tuple[int, ...] | None = None,
        covered_size: tuple[int, int] | None = None,
    ) -> Recording:
        """The finished recording; `notes` go into its metadata, with versions and token counts.

        A warning is logged if steps are missing.

        Raises:
            UserError: if nothing was recorded.
        """
        notes = {**notes, **self._troubles()}
        made_with = versions(*HOST)
        return self._collector.build(self._builder, grid, image_size, notes, made_with, covered_size, frame_counts)

    def _troubles(self) -> dict[str, str]:
        """Notes on steps that are missing."""
        recorded = self._builder.committed
        if recorded == self._steps:
            return {}
        count = f"{recorded} of {self._steps} steps recorded"
        reasons = "; ".join(self._problems or ["a cache skipped joint blocks"])
        if not recorded:
            raise UserError(f"Nothing was recorded: {reasons}. Turn the cache off, or record other layers.")
        logger.warning("%s: %s", count, reasons)
        return {"steps": count, "troubles": reasons}

    def _observe(self, arguments: Arguments) -> slice | None:
        if self._observed:
            return None
        self._observed = True
        self._builder.begin_evaluation()
        return slice(None if self._rows is None else -self._rows, None)

    def _note(self, problem: str) -> None:
        self._problems[problem] = None

    def _show(self, layer: int, vectors: JointVectors) -> None:
        if self._on_vectors is not None and layer in self._collector.layers:
            self._on_vectors(self._steps, layer, vectors)

    def _score(self, layer: int, image_out: Tensor, *concept_out: Tensor) -> None:
        if layer in self._collector.layers:
            self._builder.add_layer(layer, *self._collector.score(image_out[:, : self._tokens], *concept_out))

    def _score_joint_text(self, layer: int, seen: TextAttention, grid: Grid) -> None:
        if layer in self._collector.layers:
            self._score_text(layer, seen, grid, grid)

    def _score_text(self, layer: int, seen: TextAttention, own: Grid, grid: Grid) -> None:
        self._builder.add_layer(layer, *self._collector.score_text(seen, own, grid))
