"""Where the recordings of patched models wait until the graph asks for them.

A patched MODEL has no edge back into the graph. Its runs therefore lay their recordings here, each under the content of
the latent that the run returned, and whoever holds that latent finds it again: the sampler may have been served from
the host's cache, and two samplers may share one MODEL.
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

from ...recording.recording import Recording

MEBIBYTE = 1 << 20
MOST_REMEMBERED = 256  # runs whose recording is gone, kept for the sake of a good error
SHAPES_NAMED = 4  # in an error


def digest(samples: Any) -> str:
    """Hash of what a latent holds, as the host hands it on.

    KSampler moves a latent to the host's intermediate device and dtype, which comes after a patched model has seen it;
    SamplerCustomAdvanced leaves the dtype alone. Both end at the same digest.

    Args:
        samples: a LATENT's `samples`: a tensor of any shape and dtype, or a nested one.
    """
    nested = getattr(samples, "is_nested", False)
    content = hashlib.sha256()
    for part in samples.unbind() if nested else (samples,):
        kept = part.detach().to("cpu", comfy.model_management.intermediate_dtype())
        content.update(repr(tuple(kept.shape)).encode())
        content.update(kept.contiguous().flatten().view(torch.uint8).numpy().data)
    return content.hexdigest()


@dataclass
class _Run:
    """A finished run of a patched model."""

    number: int
    digests: tuple[str, ...]  # the first is the run's result
    shape: tuple[int, ...]
    settings: str
    place: tuple[Any, ...] | None
    recording: Recording | None
    reason: str  # why nothing was recorded
    evicted: int = 0  # bytes of the recording that had to go

    @property
    def nbytes(self) -> int:
        return 0 if self.recording is None else self.recording.nbytes


class RecordingCache:
    """The recordings of the latest runs, bounded, the least recently used out first. Safe to use from several threads.

    Args:
        max_runs: recordings to keep, at least 1.
        max_bytes: memory they may take together. The newest recording stays in any case, as it is about to be asked
            for; alone, it may be larger.
    """

    def __init__(self, max_runs: int = 8, max_bytes: int = 512 * MEBIBYTE) -> None:
        self._max_runs = max_runs
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._runs: list[_Run] = []  # least recently used first
        self._count = 0

    @property
    def kept(self) -> int:
        """Recordings there are."""
        with self._lock:
            return sum(run.recording is not None for run in self._runs)

    @property
    def nbytes(self) -> int:
        """Memory they take."""
        with self._lock:
            return sum(run.nbytes for run in self._runs)

    def put(self, latents: Sequence[Any], settings: str, recording: Recording | None, reason: str = "") -> None:
        """Keep what a run recorded.

        A run takes the place of an earlier one that returned the same latent, if it had the same settings, or if the
        same node of the graph ran again with others: the picture does not depend on the concepts.

        Args:
            latents: `samples` of the run's result, then of whatever else it returned and shall be found by.
            settings: fingerprint of the settings it was recorded with.
            recording: None if nothing was recorded.
            reason: why nothing was recorded.
        """
        digests = tuple(digest(latent) for latent in latents)
        place = _place()
        with self._lock:
            self._runs = [run for run in self._runs if not _replaces(digests[0], settings, place, run)]
            self._count += 1
            shape = tuple(latents[0].shape)
            self._runs.append(_Run(self._count, digests, shape, settings, place, recording, reason))
            self._make_room()

    def find(self, samples: Any, settings: str | None = None) -> Recording:
        """The recording of the run that returned this latent.

        Args:
            samples: a LATENT's `samples`.
            settings: fingerprint of the settings to choose by where several runs returned the same latent.

        Raises:
            ValueError: if there is none, or more than one to choose from; it says which of the possible reasons it is.
        """
        wanted = digest(samples)
        with self._lock:
            same = [run for run in self._runs if wanted in run.digests]
            fitting = [run for run in same if settings in (None, run.settings)]
            if len({run.settings for run in fitting}) > 1:
                raise ValueError(
                    f"This latent was sampled {len(fitting)} times, with different concepts or settings each time. "
                    "Connect the patched MODEL as well, which says what to collect."
                )
            if not fitting:
                raise ValueError(self._why_unknown(samples, bool(same)))
            run = max(fitting, key=lambda run: run.number)
            if run.recording is None:
                raise ValueError(self._why_without(run))
            self._runs.remove(run)
            self._runs.append(run)
            return run.recording

    def _make_room(self) -> None:
        kept = [run for run in self._runs if run.recording is not None]
        while len(kept) > 1 and (len(kept) > self._max_runs or sum(run.nbytes for run in kept) > self._max_bytes):
            oldest = kept.pop(0)
            oldest.evicted, oldest.recording = oldest.nbytes, None
        gone = [run for run in self._runs if run.recording is None]
        forgotten = {run.number for run in gone[: max(0, len(gone) - MOST_REMEMBERED)]}
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
                "sampled, but their content is another. Another MODEL sampled it, or a node changed it since. "
                "Connect the sampler's own LATENT, and the patch node's MODEL to that sampler."
            )
        latest = ", ".join(map(str, known[-SHAPES_NAMED:]))
        return (
            f"No patched MODEL returned a latent of shape {shape}; the latest were of {latest}. Another MODEL sampled "
            "it, or it was scaled, cropped or split since. Connect the sampler's own LATENT."
        )


def _place() -> tuple[Any, ...] | None:
    """The node of the graph that is being executed, and which item of a list it works on; None outside of a graph."""
    context = get_executing_context()
    return None if context is None else (context.node_id, context.list_index)


def _replaces(result: str, settings: str, place: tuple[Any, ...] | None, older: _Run) -> bool:
    return result == older.digests[0] and (settings == older.settings or (place is not None and place == older.place))


RECORDING_CACHE = RecordingCache()
