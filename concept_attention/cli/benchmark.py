"""`concept-attention benchmark`: compare maps with the truth of a data set."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from ..embedded import FOLDERS
from ..errors import UserError
from ..evaluation import report
from ..evaluation import run as stages
from ..evaluation.baselines.opening import BASELINES, open_baseline
from ..evaluation.datasets.example import DataSet
from ..evaluation.datasets.opening import open_dataset
from ..evaluation.measured import Estimate
from ..evaluation.protocols import protocol_for
from ..evaluation.question import Question
from ..evaluation.settings import Settings, default_settings
from ..evaluation.sweeps import SWEEPS, sweep_steps
from ..files import write_json
from ..hosts.collector import versions
from ..hosts.diffusers.analysis import analyze
from ..hosts.diffusers.loading import defaults_for
from ..hosts.diffusers.recorder import HOST
from ..recording.recording import Recording
from ..scores import Vectors, resolve_mode
from ..tiny.evaluation.dataset import Landscapes
from ..vectors import SPACES, SpaceScores
from .folder import prepared_folder
from .model import describe, load, model_facts
from .progress import Clock, progress_bar

MODEL = "model.json"  # in the folder of results: what scoring needs to know of the model that recorded
# Baselines are asked as Flux is.
NO_MODEL = {"layer_count": 19, "side": 1024, "architecture": "flux", "reading": "concept", "identity": []}


@dataclass
class _Bench:
    """What all settings of a run share; without a pipeline there are only recordings to score, or a baseline.

    Attributes:
        model: see `NO_MODEL`.
        counted, words: pictures of the latest setting that were scored, and figures by word.
    """

    arguments: Namespace
    folder: Path
    dataset: DataSet
    chosen: Sequence[int]
    pipeline: Any
    model: dict[str, Any]
    counted: int = 0
    words: dict[str, dict[str, float]] = field(default_factory=dict)

    def record(self, question: Question, settings: Settings) -> Recording:
        """Record one picture; in another space of vectors where the method is one."""
        linear = resolve_mode(settings.mode, self.model["architecture"]).vectors == "linear"
        vectors: Vectors = "linear" if linear else "raw"
        space = SpaceScores(SPACES[settings.method], vectors) if settings.method in SPACES else None
        size = {"width": self.model["side"], "height": self.model["side"]} if question.square else {}
        recording = analyze(
            self.pipeline,
            question.image,
            question.concepts,
            prompt=question.prompt,
            noise=settings.noise,
            samples=settings.samples,
            seed=settings.seed,
            layers=settings.recorded,
            mode=settings.mode,
            dtype="float16",
            on_vectors=space,
            attends=settings.attends,  # type: ignore[arg-type]
            flip=settings.flip,
            **size,
        )
        return recording if space is None else space.recording(recording)

    def row(self, label: str, settings: Settings) -> dict[str, Estimate] | None:
        """Record and score the pictures by one setting; None where only recording was asked for."""
        protocol = protocol_for(self.dataset, settings, self.model["side"])
        quiet, total = self.arguments.quiet, len(self.chosen)
        source: Any
        if settings.method in BASELINES:
            source = open_baseline(settings.method, self.arguments.weights, self.arguments.device)
        else:
            source = stages.Recordings(self.folder, settings, self.dataset, self.model["identity"])
            if self.pipeline is not None:
                with progress_bar(f"Recording {label}".strip(), "picture", total, quiet) as on:
                    source.make(self.dataset, self.chosen, protocol, settings, self.record, on)
        if self.arguments.stage == "record" or self.arguments.part != (1, 1):
            return None
        with progress_bar(f"Scoring {label}".strip(), "picture", total, quiet) as on:
            pictures = stages.measure_pictures(self.dataset, self.chosen, protocol, settings, source, on)
        if not pictures:
            raise UserError("There is nothing to score: no picture of the data set has a recording here. Record first.")
        self.counted = len(pictures)
        self.words = report.by_word(pictures, protocol)
        suffix = f"_{label}" if label else ""
        report.write_pictures(pictures, self.folder / f"per_image{suffix}.csv")
        return report.figures(pictures, protocol)


def run(arguments: Namespace) -> None:
    """Run the command; raises `UserError` for arguments that cannot be used."""
    with prepared_folder(arguments.out) as folder:
        clock = Clock()
        bench = _prepare(arguments, folder)
        clock.lap("load")
        base = _settings(arguments, bench)
        title, steps = "", [("", base)]
        if arguments.sweep is not None:
            title, steps = SWEEPS[arguments.sweep][0], sweep_steps(arguments.sweep, base, bench.model)
        rows = {}
        for label, settings in steps:
            row = bench.row(label, settings)
            if row is not None:
                rows[label or settings.method] = row
        clock.lap("run")
        if not rows:
            print(f"Recorded {len(bench.chosen)} pictures in {folder}. Score them with --stage score.")
            return
        _finish(arguments, bench, base, title, rows, clock)


def _prepare(arguments: Namespace, folder: Path) -> _Bench:
    by_model = arguments.method not in BASELINES
    pipeline = load(arguments) if by_model and arguments.stage != "score" else None
    model: dict[str, Any] = dict(NO_MODEL)
    if pipeline is not None:
        found = describe(pipeline)
        weights = FOLDERS.get(arguments.model, Path(arguments.model))
        files = sorted(weights.rglob("*.safetensors")) if weights.is_dir() else []
        identity = [arguments.model, arguments.dtype, report.hash_files(files)]
        sizes = {"layer_count": found.layer_count, "side": defaults_for(pipeline).side}
        model = {**sizes, "architecture": found.name, "reading": found.reading, "identity": identity}
        write_json(model, folder / MODEL)
    elif by_model:
        model = _recorded_model(folder)
    dataset: DataSet
    if arguments.dataset in ("landscapes", "crayon"):
        side = model["side"] if by_model else 256
        dataset = Landscapes(arguments.choice, side, arguments.limit or 200, arguments.dataset)
    elif arguments.data is None:
        raise UserError(f"Where is {arguments.dataset}? Give its folder with --data.")
    else:
        dataset = open_dataset(arguments.dataset, arguments.data, arguments.names)
    chosen = stages.chosen_pictures(dataset, arguments.limit, arguments.choice, arguments.part)
    return _Bench(arguments, folder, dataset, chosen, pipeline, model)


def _recorded_model(folder: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads((folder / MODEL).read_text(encoding="utf-8"))
        return {name: found[name] for name in NO_MODEL}
    except (OSError, ValueError, LookupError) as error:
        raise UserError(f"{folder} has no recordings to score. Run without --stage score first.") from error


def _settings(arguments: Namespace, bench: _Bench) -> Settings:
    """The protocol's settings with what the command line changes."""
    base = default_settings(arguments.dataset, arguments.protocol, bench.model["layer_count"], bench.dataset.background)
    names = ("method", "classes", "noise", "samples", "seed", "mode", "temperature", "attends", "low", "refine")
    given = {name: getattr(arguments, name) for name in names if getattr(arguments, name) is not None}
    if arguments.layers is not None:
        given |= {"layers": arguments.layers, "recorded": arguments.layers}
    if arguments.background is not None:
        given["background"] = tuple(arguments.background)
    if arguments.softmax is not None:
        given["softmax"] = arguments.softmax == "yes"
    if arguments.blur is not None:
        given["blur"] = arguments.blur == "yes"
    settings = replace(base, flip=arguments.flip, **given)
    if settings.refine != "none" and settings.protocol == "paper":
        raise UserError("The paper's protocol scores maps at token resolution: --refine needs --protocol proper.")
    return settings


def _finish(
    arguments: Namespace, bench: _Bench, base: Settings, title: str, rows: dict[str, dict[str, Estimate]], clock: Clock
) -> None:
    """Write the results, and print the table."""
    published = report.PUBLISHED.get(arguments.dataset, {}) if base.protocol == "paper" else {}
    complete = len(bench.chosen) == len(bench.dataset) and arguments.limit is None
    text = report.table(rows, published)
    verdict = report.verdict(arguments.dataset, next(iter(rows.values())), complete) if published and not title else ""
    facts = {} if bench.pipeline is None else model_facts(arguments, bench.pipeline)
    results = {
        "dataset": arguments.dataset,
        "data": "" if arguments.data is None else str(arguments.data),
        "data_hash": report.hash_files(bench.dataset.files),
        "protocol": base.protocol,
        "classes": base.classes,
        "names": bench.dataset.words_from,
        "pictures": bench.counted,
        "chosen": len(bench.chosen),
        "settings": asdict(base),
        "sweep": arguments.sweep,
        "rows": {label: report.as_json(row) for label, row in rows.items()},
        "by_word": bench.words if not title else {},
        "published": published,
        "verdict": verdict,
        "versions": versions(*HOST),
        "weights_hash": bench.model["identity"][-1] if bench.model["identity"] else "",
        **facts,
        "seconds": clock.seconds,
    }
    write_json(results, bench.folder / "results.json")
    if title:
        report.draw_sweep(title, rows, bench.folder / f"sweep_{arguments.sweep}.png")
    maker = base.method if base.method in BASELINES else arguments.model
    pictures = f"{bench.counted} of {len(bench.chosen)} pictures with {maker}"
    print(f"{arguments.dataset}, protocol {base.protocol}, classes {base.classes}: {pictures}\n\n{text}")
    print("".join(f"\n{line}" for line in (verdict, facts.get("note", "")) if line) + f"\nWrote to {bench.folder}")
