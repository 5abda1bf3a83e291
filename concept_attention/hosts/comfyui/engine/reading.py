"""How a run is read: the stream of each of its forward passes, and the scores of what that observes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from torch import Tensor

from ....text_attention import TextAttention
from ...collector import Collector, LayerScores
from ...joint_text import Rows
from ..adapters.adapter import Adapter
from ..adapters.cross_attention.adapter import CrossAdapter, Grid
from .cross_stream import CrossStream
from .stream import ConceptStream

OnScores = Callable[[int, LayerScores], None]


class Streams:
    """Makes the streams of one run.

    Args:
        adapter: of the model's family.
        collector: that scores the concepts.
        stop_after_last_layer: end each forward pass after the last recorded layer.
    """

    def __init__(self, adapter: Adapter | CrossAdapter, collector: Collector, stop_after_last_layer: bool) -> None:
        self._adapter = adapter
        self._collector = collector
        self._stop_after_last_layer = stop_after_last_layer
        self._prepared: dict[Any, Any] = {}  # the concepts' tokens, for the passes after the first

    def stream(self, network: Any, rows: Rows, grid: Grid, on_scores: OnScores) -> ConceptStream | CrossStream:
        """What observes one forward pass; `on_scores` is called with every recorded layer and its scores.

        Args:
            network: the diffusion model, not compiled.
            rows: of the batch, that are recorded.
            grid: tokens (T, H, W) of what is evaluated, in the size of the recording's tokens.
        """
        collector, last = self._collector, self._collector.layers[-1]

        def on_layer(layer: int, *attention_outputs: Tensor) -> None:
            if layer in collector.layers:
                on_scores(layer, collector.score(*attention_outputs))

        def on_text(layer: int, attention: TextAttention, own: Grid = grid) -> None:
            if layer in collector.layers:
                on_scores(layer, collector.score_text(attention, own, grid))

        if isinstance(self._adapter, CrossAdapter):
            return CrossStream(
                self._adapter,
                network,
                collector.texts,
                rows,
                grid,
                on_text,
                collector.layers,
                with_output=collector.reading == "gram",
                stop_after_last_layer=self._stop_after_last_layer,
                prepared=self._prepared,
            )
        position = collector.architecture.concept_position
        riding = collector.reading == "concept"
        return ConceptStream(
            self._adapter,
            network,
            collector.embeddings,
            rows,
            math.prod(grid),
            on_layer,
            last,
            key_bias=collector.key_bias,
            apart=collector.apart,
            positions=slice(position, position + 1),
            stop_after_last_layer=self._stop_after_last_layer,
            on_text=None if riding else on_text,
        )
