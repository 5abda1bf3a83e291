"""What happens to the concepts between the first and the last step of a sampling run: its state, and three wrappers.

Per model evaluation (PREDICT_NOISE) the prompts' parts are put together on a canvas. Which of the evaluated lists is
the positive one is known in CALC_COND_BATCH, which lets concepts ride along in those calls of APPLY_MODEL that belong
to it. The sampler's callback keeps the latest evaluation as the step's: of samplers that evaluate several times per
step, that is the step's first one.
"""

from __future__ import annotations

import functools
import math
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from comfy.patcher_extension import WrappersMP
from torch import Tensor

from ...collector import Collector, LayerScores
from ..adapters.adapter import Adapter
from ..adapters.block_call import Rows
from ..adapters.network import running_eager
from .geometry import RunGeometry, latent_pixels_per_token, measure_geometry, noise_level
from .prompts import Unplaceable, covered_latent_pixels, find_positive, latent_size, place_prompts
from .regions import Region, ScoreAccumulator, latent_to_tokens
from .settings import Settings
from .stream import ConceptStream, OnLayer, StopForward

KEY = "concept_attention"
_APPLY_ARGUMENTS = ("x", "t", "c_concat", "c_crossattn", "control", "transformer_options")


@dataclass(eq=False)
class _Evaluation:
    """One evaluation of the model with all its prompts.

    Attributes:
        canvas: where its scores are put together.
        windows: context windows that were looked at; None among them stands for the whole latent.
        noise: the model's sampling object and the sigma of every picture; None until a positive prompt was found.
    """

    canvas: ScoreAccumulator
    windows: set[Any]
    noise: tuple[Any, Tensor] | None = None


class _Parts(NamedTuple):
    """What one call of CALC_COND_BATCH evaluates of the positive prompts.

    Attributes:
        canvas: of the evaluation.
        positive: position of the positive list among those that are evaluated.
        by_id: number on the canvas and place of every prompt that has not been evaluated yet, by its id.
    """

    canvas: ScoreAccumulator
    positive: int
    by_id: dict[Any, list[tuple[int, Region]]]


class RecordingSession:
    """One run's state; `predict_noise` and `calc_cond_batch` are wrappers for ComfyUI.

    Args:
        guider: whose run it is.
        adapter: of its model's family.
        collector: what is recorded.
        settings: of the run.
        steps: sampler steps of the run.
        stop: end each forward pass after the last kept layer.

    Attributes:
        builder: with the steps recorded so far.
        done: sampler steps that have ended, of those to be recorded.
        frame: of the first recorded step, and so of all.
        denoised: the latest x0 the sampler reported.
        problems: why maps are missing, each once.
    """

    def __init__(
        self, guider: Any, adapter: Adapter, collector: Collector, settings: Settings, steps: int, stop: bool
    ) -> None:
        self._guider = guider
        self._adapter = adapter
        self._collector = collector
        self._settings = settings
        self._steps = steps
        self._stop = stop
        self._patch = latent_pixels_per_token(collector.architecture)
        self._lock = threading.Lock()  # several GPUs evaluate in threads
        self._step = 0  # that the next evaluation belongs to
        self._begun: _Evaluation | None = None
        self._latest: _Evaluation | None = None  # that a positive prompt took part in
        self.builder = collector.builder(settings.keep, settings.dtype)
        self.done = 0
        self.frame: RunGeometry | None = None
        self.denoised: Tensor | None = None
        self.problems: dict[str, None] = {}

    def predict_noise(self, executor: Any, *args: Any, **kwargs: Any) -> Any:
        """One evaluation of the model; guiders may evaluate their prompts in several calls."""
        self._begun = None
        if self._settings.wants(self._step, self._steps):
            try:
                size = latent_size(args[0] if args else kwargs["x"])
            except Unplaceable as reason:
                self.problems[str(reason)] = None
            else:
                self._begun = _Evaluation(ScoreAccumulator(size, self._patch), set())
        return executor(*args, **kwargs)

    def calc_cond_batch(
        self, executor: Any, model: Any, conds: Any, x_in: Tensor, timestep: Tensor, model_options: dict[str, Any]
    ) -> Any:
        """Some prompts of an evaluation: look at the model's calls for the positive ones."""
        parts = self._expect_parts(model, conds, x_in, timestep, model_options)
        if parts is None:
            return executor(model, conds, x_in, timestep, model_options)
        options = model_options.setdefault("transformer_options", {})
        wrappers = options.setdefault("wrappers", {}).setdefault(WrappersMP.APPLY_MODEL, {})
        wrappers[KEY] = [functools.partial(self._apply_model, parts)]  # the last one is the innermost
        try:
            return executor(model, conds, x_in, timestep, model_options)
        finally:
            wrappers.pop(KEY, None)

    def after_step(self, step: int, denoised: Tensor) -> None:
        """The sampler's callback: keep what this step delivered."""
        self.denoised = denoised
        self._step = step + 1
        latest, self._latest = self._latest, None
        if not self._settings.wants(step, self._steps):
            return
        self.done += 1
        if latest is None or latest.noise is None:
            return
        model_sampling, sigma = latest.noise
        self.builder.begin_evaluation()
        try:
            for layer, scores in latest.canvas.finish().items():
                self.builder.add_layer(layer, *scores)
            level = noise_level(model_sampling, float(sigma.flatten()[0]))
            if self.builder.commit(step, level) and self.frame is None:
                layout = self._guider.model_patcher.get_model_object("latent_format")
                self.frame = measure_geometry(
                    latest.canvas.size, self._collector.architecture, layout.spacial_downscale_ratio
                )
        except ValueError as error:  # a latent that changed its size meanwhile; sampling goes on
            self.problems[str(error)] = None

    def _expect_parts(
        self, model: Any, conds: Any, x: Tensor, timestep: Tensor, model_options: Mapping[str, Any]
    ) -> _Parts | None:
        """The positive prompts of this call; None if they are not in it, or were looked at in this evaluation."""
        evaluation = self._begun
        index = find_positive(conds, getattr(self._guider, "conds", {}))
        window = model_options.get("transformer_options", {}).get("context_window")
        key = None if window is None else tuple(window.index_list)
        if evaluation is None or index is None or key in evaluation.windows:
            return None
        evaluation.windows.add(key)
        try:
            cells = covered_latent_pixels(x, evaluation.canvas.size, window)
            placed = place_prompts(conds[index], x, timestep, cells)
        except Unplaceable as reason:
            self.problems[str(reason)] = None
            self._begun = self._latest = None  # what is missing must not look as if no prompt counted there
            return None
        if not placed:
            return None
        evaluation.noise = (model.model_sampling, timestep)
        self._latest = evaluation
        parts = _Parts(evaluation.canvas, index, {})
        for prompt, place in placed:
            parts.by_id.setdefault(prompt, []).append((evaluation.canvas.expect(place), place))
        return parts

    def _apply_model(self, parts: _Parts, executor: Any, *args: Any, **kwargs: Any) -> Any:
        """One call of the model, with the prompts that ComfyUI could evaluate together."""
        named = {**dict(zip(_APPLY_ARGUMENTS, args, strict=False)), **kwargs}
        x, options = named["x"], named.get("transformer_options") or {}
        chunks = list(zip(options.get("cond_or_uncond", ()), options.get("uuids", ()), strict=False))
        chosen = self._take(parts, chunks, x)
        if not chosen:
            return torch.zeros_like(x) if self._stop else executor(*args, **kwargs)
        batch = x.shape[0] // len(chunks)

        def deliver(layer: int, image_out: Tensor, concept_out: Tensor) -> None:
            if layer in self._collector.layers:
                scores = self._collector.score(image_out, concept_out)
                with self._lock:
                    for place, (_, part, _) in enumerate(chosen):
                        parts.canvas.add(part, layer, _of_rows(scores, slice(place * batch, (place + 1) * batch)))

        rows = _rows([chunk for chunk, _, _ in chosen], batch)
        tokens = math.prod(latent_to_tokens(chosen[0][2].size[1:], self._patch))
        last = self._collector.layers[-1]
        with running_eager(executor.class_obj, self._adapter.joint_blocks, last + 1) as network:
            stream = self._stream(network, rows, tokens, deliver)
            try:
                with stream:
                    return executor(*args, **kwargs)
            except StopForward:
                return torch.zeros_like(x)
            finally:
                if stream.problem:
                    self.problems[stream.problem] = None

    def _stream(self, network: Any, rows: Rows, tokens: int, deliver: OnLayer) -> ConceptStream:
        position = self._collector.architecture.concept_position
        return ConceptStream(
            self._adapter,
            network,
            self._collector.embeddings,
            rows,
            tokens,
            deliver,
            self._collector.layers[-1],
            key_bias=self._collector.key_bias,
            positions=slice(position, position + 1),
            stop=self._stop,
        )

    def _take(self, parts: _Parts, chunks: Sequence[tuple[int, Any]], x: Tensor) -> list[tuple[int, int, Region]]:
        """Chunk of the batch, number on the canvas and place of what is looked at in this call."""
        chosen = []
        with self._lock:
            for chunk, (index, prompt) in enumerate(chunks):
                waiting = parts.by_id.get(prompt, []) if index == parts.positive else []
                if waiting and _fits(x, len(chunks), waiting[0][1]):
                    chosen.append((chunk, *waiting.pop(0)))
                elif waiting:
                    self.problems["another pack evaluates the model on parts of the latent"] = None
        return chosen


def _fits(x: Tensor, chunks: int, place: Region) -> bool:
    """Whether each chunk of a batch has the size of a place."""
    batch, _, *size = x.shape
    return (batch // chunks, *([1] * (3 - len(size))), *size) == place.size


def _rows(chunks: Sequence[int], batch: int) -> Rows:
    """Rows of some of a batch's chunks; neighbouring ones are selected without a copy."""
    first, last = chunks[0], chunks[-1]
    if list(chunks) == list(range(first, last + 1)):
        return slice(first * batch, (last + 1) * batch)
    return torch.tensor([chunk * batch + row for chunk in chunks for row in range(batch)])


def _of_rows(scores: LayerScores, rows: slice) -> LayerScores:
    return LayerScores(scores.scores[rows], scores.norms[rows], None if scores.pads is None else scores.pads[rows])
