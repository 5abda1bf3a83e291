"""The recording of any run of a pipeline whose transformer is supported."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from ...choices import Keep, Pooling, Reader
from ...concepts import Concept
from ...errors import UserError
from ...recording.recording import Recording
from ...vectors import OnVectors
from ..encoded import EncodedConcepts
from ..reasons import NotRecordable
from .adapters import adapter_for
from .encode import encode_concepts
from .loading import defaults_for
from .named import Arguments
from .pipelines.request import model_name
from .recorder import Recorder
from .registry import family_of
from .steps import following

logger = logging.getLogger("concept_attention")

OnStep = Callable[[int, int], None]


@contextmanager
def record(
    pipeline: Any,
    concepts: str | Sequence[Concept | str] | EncodedConcepts,
    *,
    layers: str | Sequence[int] = "all",
    mode: str = "auto",
    pooling: Pooling = "auto",
    reader: Reader = "auto",
    max_tokens: int | None = None,
    dtype: torch.dtype = torch.float32,
    keep: Keep = "every step",
    on_vectors: OnVectors | None = None,
) -> Iterator[Recording]:
    """Record concepts while a pipeline runs: any pipeline of a supported model, called in any way.

    What the pipeline makes is bit-identical to what it makes without concepts. Only calls in the thread that entered
    the block are recorded, and of these only the first. A step that a cache skipped is left out, which is logged.

    Args:
        pipeline: of diffusers, such as FluxImg2ImgPipeline, FluxKontextPipeline or StableDiffusion3ControlNetPipeline;
            a modular one; or anything with a `transformer` or a `unet`, and a `scheduler`, which a loop of your own
            calls. Then give encoded concepts.
        concepts: what to look for, the same in every image, see `generate`; or the result of `encode_concepts`, for a
            pipeline without text encoders.
        layers, mode, pooling, reader, max_tokens, dtype, keep, on_vectors: see `generate`. Give the `max_tokens` that
            the pipeline is called with, if it is.

    Yields:
        The recording, which has nothing in it before the block ends. Its steps are those of the sampler's loop, from 0;
        its image size is that of the latent.

    Raises:
        UserError: for a transformer that is not supported or is being recorded already, as `encode_concepts`, and at
            the end of the block if nothing was recorded.

    Example:
        >>> from concept_attention.concepts import parse_concepts
        >>> from concept_attention.hosts.diffusers import load_pipeline, record
        >>> pipeline = load_pipeline("tiny", device="cpu")
        >>> with record(pipeline, parse_concepts("house, sky")) as recording:
        ...     images = pipeline("a red house", width=64, height=48, num_inference_steps=2).images
        >>> recording.grid, recording.scores.shape  # steps, layers, images, concepts, image tokens
        ((1, 3, 4), torch.Size([2, 4, 1, 2, 12]))

    Source: arXiv:2502.04320, Sec. 4.
    """
    encoded = concepts
    if not isinstance(encoded, EncodedConcepts):
        tokens = defaults_for(pipeline).max_tokens if max_tokens is None else max_tokens
        encoded = encode_concepts(pipeline, encoded, pooling, tokens, reader)
    with recording_run(pipeline, encoded, layers, mode, dtype, keep, {}, on_vectors=on_vectors) as recording:
        yield recording


@contextmanager
def recording_run(
    pipeline: Any,
    encoded: EncodedConcepts,
    layers: str | Sequence[int],
    mode: str,
    dtype: torch.dtype,
    keep: Keep,
    notes: Mapping[str, str],
    seed: int | None = None,
    on_vectors: OnVectors | None = None,
    on_step: OnStep | None = None,
) -> Iterator[Recording]:
    """As `record`.

    Args:
        notes: for the metadata, beside the model.
        seed: of the noise that the scheduler draws; see `following`.
        on_vectors: see `Recorder`.
        on_step: called after each step with (steps done, steps in all).
    """
    recorder = RunRecorder(pipeline, encoded, layers, mode, dtype, keep, on_vectors, on_step)
    recording = object.__new__(Recording)
    with recorder.watching(), following(pipeline.scheduler, recorder.start, recorder.end_step, seed):
        yield recording
    vars(recording).update(vars(recorder.finish({**notes, "model": model_name(pipeline)})))


class RunRecorder(Recorder):
    """A recorder that finds out by itself what runs: the grid, the prompts' rows, and the steps.

    Args: see `Recorder`, and for `on_step` see `recording_run`.
    """

    def __init__(
        self,
        pipeline: Any,
        encoded: EncodedConcepts,
        layers: str | Sequence[int],
        mode: str,
        dtype: torch.dtype,
        keep: Keep,
        on_vectors: OnVectors | None = None,
        on_step: OnStep | None = None,
    ) -> None:
        super().__init__(pipeline, encoded, layers, mode, 0, dtype, None, keep, on_vectors)
        self._on_step = on_step
        self._adapter = adapter_for(self._transformer)
        self._family = family_of(pipeline)
        self._grid: tuple[int, int, int] | None = None
        self._sides: tuple[int, int] | None = None  # of the latent, where it may be smaller than what tokens cover
        self._prompt: slice | None = None  # rows of an evaluation; None until the first step has ended
        self._index: int | None = None  # of the last step that has ended, in the schedule
        self._over = False

    def start(self) -> None:
        """A run is about to begin."""
        if self._steps and not self._over:
            self._over = True
            logger.warning("Only the first run in a `record` block is recorded. Enter a new block for each run.")

    def end_step(self, timestep: Any, latents: Any) -> None:
        """A step has ended."""
        scheduler, step = self._pipeline.scheduler, self._steps
        index = getattr(scheduler, "step_index", None)  # a run may begin in the middle of the schedule
        again = index is not None and index == self._index and not self._observed  # Cosmos 1 asks twice in every step
        if self._over or again:
            return
        self._index = index
        if self._prompt is None and self._grid is not None:
            self._prompt = self._family.image_rows(len(latents))
            self._builder.keep_rows(self._prompt)
        sigma = self._family.step_sigma(scheduler, step if index is None else index - 1, timestep)
        try:
            self.commit(step, sigma)
        except ValueError as error:  # the run goes on
            self._note(str(error))
        if self._on_step is not None:
            self._on_step(self._steps, len(scheduler.timesteps))

    def finish(self, notes: Mapping[str, str]) -> Recording:
        """The recording of the run.

        Raises:
            UserError: if there is none.
        """
        if self._grid is None:
            reason = "; ".join(self._problems or ["the transformer was not called in this block by this thread"])
            raise UserError(f"Nothing was recorded: {reason}. Call the pipeline inside of the `with` block.")
        _, rows, columns = self._grid
        pixels = self._family.token_pixels(self._pipeline)
        frame_counts = self._family.frame_counts(self._pipeline, self._grid)
        covered = image = pixels * rows, pixels * columns
        if self._sides is not None:
            each = pixels // self.architecture.patch
            image = each * self._sides[0], each * self._sides[1]
        return self.build(self._grid, image, notes, frame_counts, None if covered == image else covered)

    def _observe(self, arguments: Arguments) -> slice | None:
        if self._over or super()._observe(arguments) is None:
            return None
        try:
            grid = self._adapter.target_grid(self._transformer, arguments)
        except NotRecordable as error:
            self._note(str(error))
            return None
        if self._grid is None:
            self._grid, self._tokens = grid, math.prod(grid)
            self._sides = self._adapter.latent_sides(arguments)
            batch = self._adapter.batch_size(arguments)
            self._prompt = self._family.prompt_rows(self._pipeline, batch)
            images = len(range(*(self._prompt or slice(None)).indices(batch)))
            if warning := self.size_warning(len(self._pipeline.scheduler.timesteps), images):
                logger.warning(warning)
        if grid != self._grid:
            self._note(f"the token grid changed from {self._grid} to {grid}")
            return None
        return self._prompt or slice(None)
