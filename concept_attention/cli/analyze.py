"""`concept-attention analyze`: heatmaps and masks of an existing image or video."""

from __future__ import annotations

from argparse import Namespace

from ..errors import UserError
from ..hosts.diffusers.analysis import analyze, shown_size
from ..hosts.diffusers.loading import DTYPES, defaults_for
from ..images import load_frames, to_pil
from .folder import prepared_folder
from .model import describe, load, model_facts
from .options import check_options, heatmap_options
from .output import print_report, write_results
from .progress import Clock, progress_bar


def run(arguments: Namespace) -> None:
    """Run the command; raises `UserError` for arguments that cannot be used."""
    concepts, options = arguments.concepts, heatmap_options(arguments)
    images = load_frames(arguments.image)
    with prepared_folder(arguments.out) as folder:
        clock = Clock()
        pipeline = load(arguments)
        clock.lap("load")
        defaults = defaults_for(pipeline)
        if defaults.frames == 1:
            if arguments.image.is_dir():
                raise UserError(f"{arguments.image} is a folder, expected an image file: this is not a video model.")
            images = images[:1]  # the first frame of an animation
        samples = arguments.samples * (2 if arguments.flip else 1)
        check_options(options, describe(pipeline), arguments.mode, concepts, samples)
        settings = {
            "prompt": arguments.prompt,
            "noise": arguments.noise,
            "samples": arguments.samples,
            "flip": arguments.flip,
            "pooling": arguments.pooling,
            "reader": arguments.reader,
        }
        with progress_bar("Analyzing", "sample", samples, arguments.quiet) as on_step:
            recording = analyze(
                pipeline,
                [to_pil(image) for image in images],
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
        width, height = shown_size(pipeline, to_pil(images[0]).size, arguments.width, arguments.height)
        facts = {
            "command": "analyze",
            "picture": str(arguments.image),
            "prompt": settings.pop("prompt"),
            "seed": arguments.seed,
            **model_facts(arguments, pipeline),
            "settings": {
                "width": width,
                "height": height,
                **settings,
                "precision": arguments.precision,
                **options.as_dict(),
            },
        }
        sources = [arguments.image]
        rate = defaults.frame_rate
        results = write_results(
            folder, images, recording, options, facts, clock, sources, rate, arguments.quiet, arguments.video
        )
    seconds = clock.seconds["analyze"]
    title = f"Analyzed {arguments.image} with {arguments.model} in {seconds:.1f} s (noise {arguments.noise:g})."
    print_report(results, title, arguments.json)
