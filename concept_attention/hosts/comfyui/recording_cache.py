"""Cache of the recordings of patched models, looked up by the sampled latent.

A patched MODEL has no edge back into the graph. Its runs therefore put their recordings here, under a digest of the
latent that the run returned, and the node that gets this latent looks them up. That works also if the sampler's output
comes from the host's cache, or two samplers share one MODEL.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from comfy_execution.graph_utils import ExecutionBlocker

from ...errors import UserError
from ...recording.frames import cut_frames
from ...recording.recording import Recording
from .digests import digest, find_part, frame_digests, latent_frames
from .graph_place import UNKNOWN, Asked, Place, executing_place

MEBIBYTE = 1 << 20
MAX_BYTES = 1024 * MEBIBYTE
MAX_SUPERSEDED = 8  # recordings of nodes that ran again since, such as the tiles of an upscaler
MAX_EMPTY_RUNS = 256  # runs without a recording that are remembered for the error message
SHAPES_NAMED = 4  # in an error


class NothingRecorded(UserError):
    """A run recorded nothing; the text says why.

    Attributes:
        outputs: what its sampler returned all the same.
    """

    outputs: tuple[Any, ...] = ()

    @property
    def blocker(self) -> ExecutionBlocker:
        """What a node returns in place of the recording: ComfyUI does not run the nodes that need it."""
        return ExecutionBlocker(str(self))


@dataclass
class _Run:
    """A finished run of a patched model."""

    number: int
    digests: tuple[str, ...]  # the first is that of the sampled latent
    frames: tuple[tuple[str, ...], ...]  # those of every latent frame, where it is a video
    shape: tuple[int, ...]
    settings: str
    place: Place | None
    recording: Recording | None
    reason: str  # why nothing was recorded
    unchanged: Any = None  # `samples` without what acted in the run
    evicted: int = 0  # bytes of the evicted recording

    def find_part(self, frames: Sequence[str]) -> tuple[int, int, int] | None:
        """Where these latent frames are in its video: the first, how many, and how many that has; None if nowhere."""
        starts = ((find_part(frames, video), len(video)) for video in self.frames)
        return next(((start, len(frames), count) for start, count in starts if start is not None), None)

    def part(self, samples: Any) -> tuple[int, int, int] | None:
        """The part of its video that a latent is, see `find_part`; None if it is all of it."""
        found = None if digest(samples) in self.digests else self.find_part(frame_digests(samples))
        return None if found is None or found[1] == found[2] else found

    @property
    def nbytes(self) -> int:
        return 0 if self.recording is None else self.recording.nbytes

    @property
    def slot(self) -> tuple[str, int | None] | None:
        """The node and list item that made it."""
        return None if self.place is None else self.place[1:]


class RecordingCache:
    """The recordings of the latest runs, as many as fit into a budget. Safe to use from several threads.

    The newest recording of every node and list item of the graph that is being executed always stays, even beyond the
    budget: it will be collected. Of the others, those whose node and item ran again are evicted first, then the least
    recently used.

    Args:
        max_bytes: memory they may take together.
        max_superseded: how many of those whose node and item ran again are kept.
    """

    def __init__(self, max_bytes: int = MAX_BYTES, max_superseded: int = MAX_SUPERSEDED) -> None:
        self._max_bytes = max_bytes
        self._max_superseded = max_superseded
        self._lock = threading.Lock()
        self._runs: list[_Run] = []  # least recently used first
        self._count = 0

    def put(
        self,
        latents: Sequence[Any],
        settings: str,
        recording: Recording | None,
        reason: str = "",
        unchanged: Any = None,
    ) -> None:
        """Add the recording of a run.

        It replaces an earlier run that returned the same latent, if that had the same settings, or if the same node of
        the graph ran again with others: the latent does not depend on the concepts.

        Args:
            latents: `samples` of the sampled latent, then of other outputs to find the recording by.
            settings: fingerprint of the run's settings.
            recording: None if nothing was recorded.
            reason: why nothing was recorded.
            unchanged: `samples` of the latent without what acted in the run, if that is known.
        """
        digests = tuple(digest(latent) for latent in latents)
        frames = tuple(frame_digests(latent) for latent in latents)
        shape = tuple(latents[0].shape)
        with self._lock:
            self._count += 1
            added = _Run(self._count, digests, frames, shape, settings, executing_place(), recording, reason, unchanged)
            self._runs = [run for run in self._runs if not _replaces(added, run)]
            self._runs.append(added)
            self._evict()

    def find(self, samples: Any, settings: str | None = None, asked: Asked = UNKNOWN) -> Recording:
        """The recording of the run that returned this latent, or a video of which it is some latent frames.

        If several runs did, with different settings, the one counts whose node is wired to whoever asks; without such
        a node, those of the graph at hand, or of the latest execution of a graph.

        Args:
            samples: a LATENT's `samples`.
            settings: fingerprint to choose by.
            asked: who asks.

        Raises:
            NothingRecorded: if that run recorded nothing.
            UserError: if there is no such run, or more than one to choose from; it says why.
        """
        run, recording = self._find(samples, settings, asked)
        part = run.part(samples)
        return recording if part is None else cut_frames(recording, *part)

    def find_unchanged(self, samples: Any, asked: Asked = UNKNOWN) -> Any:
        """`samples` of the latent without what acted in the run that returned this latent; None if not known.

        Args, Raises: see `find`.
        """
        run = self._find(samples, None, asked)[0]
        part = run.part(samples)
        return run.unchanged if part is None or run.unchanged is None else latent_frames(run.unchanged, *part[:2])

    def _find(self, samples: Any, settings: str | None, asked: Asked) -> tuple[_Run, Recording]:
        """The run that returned this latent, and its recording; see `find`."""
        sought, frames = digest(samples), frame_digests(samples)
        with self._lock:
            same = [run for run in self._runs if sought in run.digests]
            same = same or [run for run in self._runs if run.find_part(frames) is not None]
            fitting = _narrow([run for run in same if settings in (None, run.settings)], asked)
            if len({run.settings for run in fitting}) > 1:
                raise UserError(
                    f"This latent was sampled {len(fitting)} times, with different concepts or settings each time. "
                    "Connect the patched MODEL as well, which says what to collect."
                )
            if not fitting:
                raise UserError(self._why_unknown(samples, bool(same), asked))
            run = max(fitting, key=lambda run: run.number)
            if run.recording is None:
                raise (
                    UserError(self._why_evicted(run))
                    if run.evicted
                    else NothingRecorded(
                        f"This latent was sampled with a patched MODEL, but nothing was recorded: {run.reason}"
                    )
                )
            self._runs.remove(run)
            self._runs.append(run)
            return run, run.recording

    def _evict(self) -> None:
        """Evict what is too much; the newest run, which comes last, stays."""
        newest = {run.slot: run.number for run in sorted(self._runs, key=lambda run: run.number)}
        prompt = None if self._runs[-1].place is None else self._runs[-1].place.prompt
        held = [run for run in self._runs[:-1] if run.recording is not None]
        superseded = [run for run in held if run.slot is not None and newest[run.slot] != run.number]
        others = [run for run in held if run not in superseded and (run.place is None or run.place.prompt != prompt)]
        too_many = len(superseded) - self._max_superseded
        total = sum(run.nbytes for run in self._runs)
        for count, run in enumerate([*superseded, *others]):
            if count >= too_many and total <= self._max_bytes:
                break
            total -= run.nbytes
            run.evicted, run.recording, run.unchanged = run.nbytes, None, None
        empty = [run for run in self._runs if run.recording is None]
        forgotten = {run.number for run in empty[: max(0, len(empty) - MAX_EMPTY_RUNS)]}
        self._runs = [run for run in self._runs if run.number not in forgotten]

    def _why_evicted(self, run: _Run) -> str:
        size, newer = run.evicted / MEBIBYTE, self._count - run.number
        return (
            f"The recording of this latent ({size:.1f} MiB) is gone: {newer} newer runs came after it, and at most "
            f"{self._max_bytes / MEBIBYTE:g} MiB are kept, with {self._max_superseded} older runs of the same nodes. "
            "Record fewer layers or steps or their running mean, or use a sampler node of this pack, which hands its "
            "recording on itself."
        )

    def _why_unknown(self, samples: Any, other_settings: bool, asked: Asked) -> str:
        if other_settings:
            return (
                "This latent was sampled with other concepts or settings than those of the connected MODEL. "
                "Connect the MODEL that its sampler used."
            )
        if not self._runs:
            return (
                "This latent was not sampled with a patched MODEL: none has sampled anything yet. Connect the MODEL "
                "output of the patch node to the sampler, and the sampler's own LATENT here. Samplers that do not use "
                "ComfyUI's sampling, such as XLabs', cannot be recorded."
            )
        places = [run.place for run in self._runs if run.place is not None and run.place.node == asked.sampler]
        parts = max(map(places.count, places), default=0)
        if parts > 1:
            return (
                f"The node of this latent ran the patched MODEL {parts} times and put the latent together from the "
                "results, as tiled samplers and upscalers do. These runs have no recording in common: collect the "
                "latent of a sampler that runs once."
            )
        shape, known = tuple(samples.shape), list(dict.fromkeys(run.shape for run in self._runs))
        if shape in known:
            return (
                f"This latent of shape {shape} is not what a patched MODEL returned: latents of that shape were "
                "sampled, but their content differs. It came from another MODEL, a later node changed it, or it was "
                "put together from several runs. "
                "Connect the sampler's own LATENT, and the patch node's MODEL to that sampler."
            )
        latest_shapes = ", ".join(map(str, known[-SHAPES_NAMED:]))
        return (
            f"No patched MODEL returned a latent of shape {shape}; the latest were of {latest_shapes}. It came from "
            "another MODEL, a later node scaled, cropped or split it, or it was put together from several runs, as by "
            "tiled samplers. Connect the sampler's own LATENT, of which a video may have lost latent frames since."
        )


def _narrow(runs: list[_Run], asked: Asked) -> list[_Run]:
    """Of the runs that returned a latent those that fit best to whoever asks."""
    wired = [run for run in runs if run.place is not None and run.place.node == asked.sampler]
    if wired:
        same_item = [run for run in wired if run.place is not None and run.place.item == asked.item]
        return same_item or wired
    known = [run for run in runs if run.place is not None and run.place.node in asked.nodes]
    if known:
        return known
    latest = max(runs, key=lambda run: run.number, default=None)
    if latest is None or latest.place is None:
        return runs
    return [run for run in runs if run.place is not None and run.place.prompt == latest.place.prompt]


def _replaces(newer: _Run, older: _Run) -> bool:
    if newer.digests[0] != older.digests[0]:
        return False
    return newer.settings == older.settings or (newer.slot is not None and newer.slot == older.slot)


RECORDING_CACHE = RecordingCache()
