"""`concept-attention analyze`: from an existing picture to heatmaps and masks."""

from __future__ import annotations

from argparse import Namespace

from ..hosts.diffusers.analysis import analyze
from ..hosts.diffusers.loading import DTYPES, defaults_for
from ..images import load_frames, to_pil
from .folder import prepared_folder
from .model import caution, describe, load, model_facts
from .options import check_options, heatmap_options
from .output import show, write_results
from .progress import Clock, progress_bar, say


def run(arguments: Namespace) -> None:
    """Do what the command line says; a ValueError says what is wrong with it."""
    concepts, reading = arguments.concepts, heatmap_options(arguments)
    pictures = load_frames(arguments.image)
    with prepared_folder(arguments.out) as folder:
        clock = Clock()
        pipeline = load(arguments)
        clock.lap("load")
        defaults = defaults_for(pipeline)
        if defaults.frames == 1:
            if arguments.image.is_dir():
                raise ValueError(f"{arguments.image} is a folder, expected a picture: this model makes no videos.")
            pictures = pictures[:1]  # of an animation
        check_options(reading, describe(pipeline), arguments.mode, concepts, arguments.samples)
        settings = {
            "prompt": arguments.prompt,
            "noise": arguments.noise,
            "samples": arguments.samples,
            "pooling": arguments.pooling,
            "reader": arguments.reader,
        }
        with progress_bar("Analyzing", "sample", arguments.samples, arguments.quiet) as on_step:
            recording = analyze(
                pipeline,
                [to_pil(picture) for picture in pictures],
                concepts,
                width=arguments.width,
                height=arguments.height,
                seed=arguments.seed,
                mode=arguments.mode,
                dtype=DTYPES[arguments.precision],
                on_step=on_step,
                **settings,
            )
        clock.lap("analyze")
        say("Writing", arguments.quiet)
        _, rows, columns = recording.grid
        facts = {
            "command": "analyze",
            "picture": str(arguments.image),
            "prompt": settings.pop("prompt"),
            "seed": arguments.seed,
            **model_facts(arguments, pipeline),
            "settings": {
                "width": 16 * columns,
                "height": 16 * rows,
                **settings,
                "precision": arguments.precision,
                **reading.as_dict(),
            },
        }
        sources = [arguments.image]
        rate = defaults.frame_rate
        results = write_results(folder, pictures, recording, reading, facts, clock, sources, rate)
    seconds = clock.seconds["analyze"]
    title = f"Analyzed {arguments.image} with {arguments.model} in {seconds:.1f} s (noise {arguments.noise:g})."
    show(results, title, arguments.json, caution(pipeline))
