"""State of one sampling run from its first to its last step, and the wrappers that record it.

Per evaluation of the model (PREDICT_NOISE) the scores of all positive prompts are accumulated. CALC_COND_BATCH tells
which of the evaluated lists is the positive one, so that concepts ride along only in the APPLY_MODEL calls that
evaluate it. The sampler's callback keeps the latest evaluation as the step's. ComfyUI's own samplers that evaluate
several times per step call it after the first one, others (RES4LYF's) after the last.

Whatever goes wrong here is a problem of the recording; the run goes on.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from comfy.patcher_extension import WrappersMP
from torch import Tensor

from ...collector import Collector, LayerScores
from ..adapters.network import is_compiled, running_eager
from ..adapters.registry import adapter_for
from ..guard import NotRecordable, guarded
from .chunks import PositivePrompts, chunk_rows
from .cross_stream import CrossStream
from .follower import Follower
from .geometry import RunGeometry, latent_pixels_per_token, measure_geometry, noise_level, same_shape, size_text
from .prompts import covered_indices, find_positive, image_part, latent_size, prompt_regions, without_anchor
from .reading import Streams
from .regions import ScoreAccumulator, latent_to_tokens
from .settings import Settings
from .stream import ConceptStream, StopForward

KEY = "concept_attention"
# Short lines: nodes do not wrap them.
COMPILED = (
    "The model is compiled, and recorded steps run uncompiled: without its speed, and bit\n"
    "for bit as in the uncompiled model, from which a compiled one differs by rounding."
)
_APPLY_ARGUMENTS = ("x", "t", "c_concat", "c_crossattn", "control", "transformer_options")


@dataclass(eq=False)
class _Evaluation:
    """One evaluation of the model with all its prompts.

    Attributes:
        accumulator: of its scores.
        windows: context windows evaluated so far; None among them stands for the whole latent.
        noise: the model's sampling object and the sigma of every image; None until a positive prompt was found.
    """

    accumulator: ScoreAccumulator
    windows: set[Any]
    noise: tuple[Any, Tensor] | None = None


class RecordingSession:
    """One run's state; `predict_noise` and `calc_cond_batch` are wrappers for ComfyUI.

    Args:
        guider: that samples.
        collector: that scores the concepts.
        settings: of the run.
        steps: sampler steps of the run.
        stop_after_last_layer: end each forward pass after the last recorded layer.
        follower: gets every step's maps while the run goes on.
        shapes: of the latents that are sampled as one, see `image_part`.

    Attributes:
        builder: with the steps recorded so far.
        done: sampler steps that have ended, of those to be recorded.
        geometry: of the latest recorded step; the steps before are brought to it.
        denoised: the latest x0 the sampler reported.
        problems: why steps are missing, each reason once.
        evaluated: whether the model was evaluated through the guider in a step to be recorded.
        found_positive: whether one of these evaluations had a positive prompt.
        cautions: what to know about the run, each once.
    """

    def __init__(
        self,
        guider: Any,
        collector: Collector,
        settings: Settings,
        steps: int,
        stop_after_last_layer: bool,
        follower: Follower | None = None,
        shapes: Sequence[Sequence[int]] = (),
    ) -> None:
        self._shapes = shapes
        self._guider = guider
        self._adapter = adapter_for(guider.model_patcher.model)
        self._collector = collector
        self._settings = settings
        self._steps = steps
        self._stop_after_last_layer = stop_after_last_layer
        self._follower = follower
        self._paused = False
        self._streams = Streams(self._adapter, collector, stop_after_last_layer)
        self._patch = latent_pixels_per_token(collector.architecture)
        self._lock = threading.Lock()  # several GPUs evaluate in threads
        self._step = 0  # that the next evaluation belongs to
        self._begun: _Evaluation | None = None
        self._latest: _Evaluation | None = None  # with a positive prompt
        self._size: tuple[int, int, int, int] | None = None  # of the latent in the latest recorded step
        self.builder = collector.builder(settings.keep, settings.dtype)
        self.done = 0
        self.geometry: RunGeometry | None = None
        self.denoised: Tensor | None = None
        self.problems: dict[str, None] = {}
        self.evaluated = False
        self.found_positive = False
        self.cautions: dict[str, None] = {}

    @property
    def latent_format(self) -> Any:
        """The host's description of the model's latents."""
        return self._guider.model_patcher.get_model_object("latent_format")

    def pause(self, paused: bool) -> None:
        """Record nothing for a while, because the sampler runs once more, or go on."""
        self._paused = paused

    def predict_noise(self, executor: Any, *args: Any, **kwargs: Any) -> Any:
        """One evaluation of the model; guiders may evaluate their prompts in several calls."""
        self._begun = None
        with self._guarded():
            if not self._paused and self._needed(self._step):
                self.evaluated = True
                size = latent_size(image_part(args[0] if args else kwargs["x"], self._shapes))
                self._begun = _Evaluation(ScoreAccumulator(size, self._patch), set())
        return executor(*args, **kwargs)

    def calc_cond_batch(
        self, executor: Any, model: Any, conds: Any, x_in: Tensor, timestep: Tensor, model_options: dict[str, Any]
    ) -> Any:
        """Some prompts of an evaluation: record the model's calls for the positive ones."""
        options: dict[str, Any] = {}
        prompts = None
        with self._guarded():
            x = image_part(x_in, self._shapes)
            prompts = self._positive_prompts(model, conds, x, timestep, model_options)
            options = model_options.setdefault("transformer_options", {})
        if prompts is None:
            return executor(model, conds, x_in, timestep, model_options)
        wrappers = options.setdefault("wrappers", {}).setdefault(WrappersMP.APPLY_MODEL, {})
        wrappers[KEY] = [functools.partial(self._apply_model, prompts)]  # the last one is the innermost
        try:
            return executor(model, conds, x_in, timestep, model_options)
        finally:
            wrappers.pop(KEY, None)

    def after_step(self, step: int, denoised: Tensor) -> None:
        """The sampler's callback: add the step's scores to the recording."""
        self.denoised = denoised
        if self._paused:
            return
        self._step = step + 1
        latest, self._latest = self._latest, None
        self.done += self._settings.records(step, self._steps)
        if self._needed(step) and latest is not None and latest.noise is not None:
            with self._guarded():
                self._commit(step, latest, *latest.noise)
        if self._follower is not None:
            self._follower.after_step(step)

    def _needed(self, step: int) -> bool:
        """Whether a step is recorded or followed."""
        followed = self._follower is not None and self._follower.needs(step, self._steps)
        return followed or self._settings.records(step, self._steps)

    def _guarded(self) -> AbstractContextManager[None]:
        return guarded(self._note_problem)

    def _note_problem(self, problem: str) -> None:
        self.problems[problem] = None
        self._begun = self._latest = None  # a part that is missing must not pass for one without prompts

    def _commit(self, step: int, latest: _Evaluation, model_sampling: Any, sigma: Tensor) -> None:
        """Add the scores of an evaluation to the recording, as those of a step."""
        layers = latest.accumulator.finish()
        if len(layers) < len(self._collector.layers):  # a cache skipped them
            return
        geometry = self._measure(latest.accumulator.size)
        if self._follower is not None:
            self._follower.take(step, self._collector.shares(layers), geometry)
        if not self._settings.records(step, self._steps):
            return
        self.builder.begin_evaluation()
        for layer, scores in layers.items():
            self.builder.add_layer(layer, *scores)
        self.builder.commit(step, noise_level(model_sampling, float(sigma.flatten()[0])))

    def _measure(self, size: tuple[int, int, int, int]) -> RunGeometry:
        """Take the size of the latent in this step; the steps before are brought to it.

        Raises:
            NotRecordable: if it shows another part of the image than before, or another batch or number of frames.
        """
        before, found = self._size, self.geometry
        if found is not None and size == before:
            return found
        downscale = self.latent_format.spacial_downscale_ratio
        geometry = measure_geometry(size, self._collector.architecture, downscale)
        if found is not None and before is not None:
            sizes = f"from {size_text(before)} to {size_text(size)} latent pixels"
            change = f"changed its size while it was sampled, {sizes}"
            if not same_shape(before, size):
                raise NotRecordable(f"the latent {change}, and only the steps of the first size are recorded")
            self.builder.resize(found.grid, geometry.grid)
            self.cautions[f"The latent {change}.\nThe maps of the steps before are scaled to that size."] = None
        self._size, self.geometry = size, geometry
        return geometry

    def _positive_prompts(
        self, model: Any, conds: Any, x: Tensor, timestep: Tensor, model_options: Mapping[str, Any]
    ) -> PositivePrompts | None:
        """The positive prompts of this call; None if there are none, or this evaluation has recorded them already."""
        evaluation = self._begun
        index = find_positive(conds, getattr(self._guider, "conds", {}))
        window = model_options.get("transformer_options", {}).get("context_window")
        key = None if window is None else tuple(window.index_list)
        if evaluation is None or index is None or key in evaluation.windows:
            return None
        self.found_positive = True
        evaluation.windows.add(key)
        accumulator = evaluation.accumulator
        indices = covered_indices(x, accumulator.size, window)
        regions = prompt_regions(conds[index], x, timestep, indices)
        if not regions:
            return None
        evaluation.noise = (model.model_sampling, timestep)
        self._latest = evaluation
        prompts = PositivePrompts(accumulator, index, {})
        for prompt, region in regions:
            region = without_anchor(region, window, x.ndim)
            prompts.waiting.setdefault(prompt, []).append((accumulator.register(region), region))
        return prompts

    def _apply_model(self, prompts: PositivePrompts, executor: Any, *args: Any, **kwargs: Any) -> Any:
        """One call of the model, with the prompts that ComfyUI could evaluate together."""
        x = args[0] if args else kwargs["x"]
        with ExitStack() as hooks:
            stream, known = None, False
            with self._guarded():
                stream, known = self._open_stream(hooks, prompts, executor.class_obj, args, kwargs), True
            if stream is None:
                hooks.close()
                return torch.zeros_like(x) if known and self._stop_after_last_layer else executor(*args, **kwargs)
            try:
                return executor(*args, **kwargs)
            except StopForward:
                return torch.zeros_like(x)
            finally:
                if stream.problem:
                    self.problems[stream.problem] = None

    def _open_stream(
        self, hooks: ExitStack, prompts: PositivePrompts, model: Any, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> ConceptStream | CrossStream | None:
        """A stream that is open until `hooks` are; None if this call evaluates no positive prompt."""
        named = {**dict(zip(_APPLY_ARGUMENTS, args, strict=False)), **kwargs}
        x, options = image_part(named["x"], self._shapes), named.get("transformer_options") or {}
        chunks = list(zip(options.get("cond_or_uncond", ()), options.get("uuids", ()), strict=False))
        with self._lock:
            chosen, parts = prompts.choose(chunks, x)
        if parts:
            self.problems["another pack evaluates the model on parts of the latent"] = None
        if not chosen:
            return None
        batch = x.shape[0] // len(chunks)

        def on_scores(layer: int, scores: LayerScores) -> None:
            with self._lock:
                for index, (_, number, _) in enumerate(chosen):
                    own = scores.select(slice(index * batch, (index + 1) * batch))
                    prompts.accumulator.add(number, layer, own)

        rows = chunk_rows([chunk for chunk, _, _ in chosen], batch)
        grid = latent_to_tokens(chosen[0][2].size[1:], self._patch)
        last = self._collector.layers[-1]
        if is_compiled(model, self._adapter.layers, last + 1):
            self.cautions[COMPILED] = None
        network = hooks.enter_context(running_eager(model, self._adapter.layers, last + 1))
        stream = self._streams.stream(network, rows, grid, on_scores)
        hooks.enter_context(stream)
        return stream
