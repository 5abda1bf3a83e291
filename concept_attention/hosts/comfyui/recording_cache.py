"""Cache of the recordings of patched models, looked up by the sampled latent.

A patched MODEL has no edge back into the graph. Its runs therefore put their recordings here, under a digest of the
latent that the run returned, and the node that gets this latent looks them up. That works also if the sampler's output
comes from the host's cache, or two samplers share one MODEL.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import comfy.model_management
import torch
from comfy_execution.utils import get_executing_context

from ...errors import UserError
from ...recording.recording import Recording

MEBIBYTE = 1 << 20
MAX_EMPTY_RUNS = 256  # runs without a recording that are remembered for the error message
SHAPES_NAMED = 4  # in an error


def digest(samples: Any) -> str:
    """Hash of a latent's content, the same before and after the host moves it.

    KSampler moves a latent to the host's intermediate device and dtype after the patched model's run has ended;
    SamplerCustomAdvanced leaves the dtype alone. Both get the same digest.

    Args:
        samples: a LATENT's `samples`: a tensor of any shape and dtype, or a nested one.
    """
    nested = getattr(samples, "is_nested", False)
    content = hashlib.sha256()
    for part in samples.unbind() if nested else (samples,):
        moved = part.detach().to("cpu", comfy.model_management.intermediate_dtype())
        content.update(repr(tuple(moved.shape)).encode())
        content.update(moved.contiguous().flatten().view(torch.uint8).numpy().data)
    return content.hexdigest()


@dataclass
class _Run:
    """A finished run of a patched model."""

    number: int
    digests: tuple[str, ...]  # the first is that of the sampled latent
    shape: tuple[int, ...]
    settings: str
    node: tuple[Any, ...] | None  # see `_executing_node`
    recording: Recording | None
    reason: str  # why nothing was recorded
    evicted: int = 0  # bytes of the evicted recording

    @property
    def nbytes(self) -> int:
        return 0 if self.recording is None else self.recording.nbytes


class RecordingCache:
    """The latest recordings, up to a limit; the least recently used is evicted first. Safe to use from several threads.

    Args:
        max_runs: recordings to hold, at least 1.
        max_bytes: memory they may take together. The newest recording always stays, as it will be needed next; alone,
            it may be larger.
    """

    def __init__(self, max_runs: int = 8, max_bytes: int = 512 * MEBIBYTE) -> None:
        self._max_runs = max_runs
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._runs: list[_Run] = []  # least recently used first
        self._count = 0

    def put(self, latents: Sequence[Any], settings: str, recording: Recording | None, reason: str = "") -> None:
        """Add the recording of a run.

        It replaces an earlier run that returned the same latent, if that had the same settings, or if the same node of
        the graph ran again with others: the latent does not depend on the concepts.

        Args:
            latents: `samples` of the sampled latent, then of other outputs to find the recording by.
            settings: fingerprint of the run's settings.
            recording: None if nothing was recorded.
            reason: why nothing was recorded.
        """
        digests = tuple(digest(latent) for latent in latents)
        node = _executing_node()
        with self._lock:
            self._runs = [run for run in self._runs if not _replaces(digests[0], settings, node, run)]
            self._count += 1
            shape = tuple(latents[0].shape)
            self._runs.append(_Run(self._count, digests, shape, settings, node, recording, reason))
            self._evict()

    def find(self, samples: Any, settings: str | None = None) -> Recording:
        """The recording of the run that returned this latent.

        Args:
            samples: a LATENT's `samples`.
            settings: fingerprint to choose by if several runs returned the same latent.

        Raises:
            UserError: if there is none, or more than one to choose from; it says why.
        """
        sought = digest(samples)
        with self._lock:
            same = [run for run in self._runs if sought in run.digests]
            fitting = [run for run in same if settings in (None, run.settings)]
            if len({run.settings for run in fitting}) > 1:
                raise UserError(
                    f"This latent was sampled {len(fitting)} times, with different concepts or settings each time. "
                    "Connect the patched MODEL as well, which says what to collect."
                )
            if not fitting:
                raise UserError(self._why_unknown(samples, bool(same)))
            run = max(fitting, key=lambda run: run.number)
            if run.recording is None:
                raise UserError(self._why_without(run))
            self._runs.remove(run)
            self._runs.append(run)
            return run.recording

    def _evict(self) -> None:
        held = [run for run in self._runs if run.recording is not None]
        while len(held) > 1 and (len(held) > self._max_runs or sum(run.nbytes for run in held) > self._max_bytes):
            oldest = held.pop(0)
            oldest.evicted, oldest.recording = oldest.nbytes, None
        empty = [run for run in self._runs if run.recording is None]
        forgotten = {run.number for run in empty[: max(0, len(empty) - MAX_EMPTY_RUNS)]}
        self._runs = [run for run in self._runs if run.number not in forgotten]

    def _why_without(self, run: _Run) -> str:
        if not run.evicted:
            return f"This latent was sampled with a patched MODEL, but nothing was recorded: {run.reason}"
        size, newer = run.evicted / MEBIBYTE, self._count - run.number
        return (
            f"The recording of this latent ({size:.1f} MiB) is gone: {newer} newer runs came after it, and at most "
            f"{self._max_runs} recordings and {self._max_bytes / MEBIBYTE:g} MiB are kept. Sample again with another "
            "seed, or use a sampler node of this pack, which hands its recording on itself."
        )

    def _why_unknown(self, samples: Any, other_settings: bool) -> str:
        if other_settings:
            return (
                "This latent was sampled with other concepts or settings than those of the connected MODEL. "
                "Connect the MODEL that its sampler used."
            )
        if not self._runs:
            return (
                "This latent was not sampled with a patched MODEL: none has sampled anything yet. Connect the MODEL "
                "output of the patch node to the sampler, and the sampler's own LATENT here."
            )
        shape, known = tuple(samples.shape), list(dict.fromkeys(run.shape for run in self._runs))
        if shape in known:
            return (
                f"This latent of shape {shape} is not what a patched MODEL returned: latents of that shape were "
                "sampled, but their content differs. It came from another MODEL, or a later node changed it. "
                "Connect the sampler's own LATENT, and the patch node's MODEL to that sampler."
            )
        latest = ", ".join(map(str, known[-SHAPES_NAMED:]))
        return (
            f"No patched MODEL returned a latent of shape {shape}; the latest were of {latest}. It came from another "
            "MODEL, or a later node scaled, cropped or split it. Connect the sampler's own LATENT."
        )


def _executing_node() -> tuple[Any, ...] | None:
    """Id of the node that is being executed, and the index of its list item; None outside of a graph."""
    context = get_executing_context()
    return None if context is None else (context.node_id, context.list_index)


def _replaces(result: str, settings: str, node: tuple[Any, ...] | None, older: _Run) -> bool:
    return result == older.digests[0] and (settings == older.settings or (node is not None and node == older.node))


RECORDING_CACHE = RecordingCache()
