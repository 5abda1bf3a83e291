"""`concept-attention generate`: an image or video from a prompt, with heatmaps and masks."""

from __future__ import annotations

from argparse import Namespace

from ..hosts.diffusers.generation import generate
from ..hosts.diffusers.loading import DTYPES, defaults_for
from ..images import from_pil
from .folder import prepared_folder
from .model import describe, load, model_facts
from .options import check_options, heatmap_options
from .output import print_report, write_results
from .progress import Clock, progress_bar


def run(arguments: Namespace) -> None:
    """Run the command; raises `UserError` for arguments that cannot be used."""
    concepts, options = arguments.concepts, heatmap_options(arguments)
    with prepared_folder(arguments.out) as folder:
        clock = Clock()
        pipeline = load(arguments)
        clock.lap("load")
        defaults = defaults_for(pipeline)
        settings = {
            "width": arguments.width or defaults.width,
            "height": arguments.height or defaults.height,
            "steps": arguments.steps or defaults.steps,
            "guidance": defaults.guidance if arguments.guidance is None else arguments.guidance,
            "cfg": arguments.cfg or defaults.cfg,
            "negative_prompt": arguments.negative_prompt,
            "pooling": arguments.pooling,
            "reader": arguments.reader,
            "keep": arguments.keep,
        }
        if arguments.frames or defaults.frames > 1:
            settings["frames"] = arguments.frames or defaults.frames
        check_options(options, describe(pipeline), arguments.mode, concepts, settings["steps"], arguments.keep)
        with progress_bar("Generating", "step", settings["steps"], arguments.quiet) as on_step:
            result = generate(
                pipeline,
                arguments.prompt,
                concepts,
                seed=arguments.seed,
                mode=arguments.mode,
                dtype=DTYPES[arguments.precision],
                on_step=on_step,
                **settings,
            )
        clock.lap("generate")
        facts = {
            "command": "generate",
            "prompt": arguments.prompt,
            "seed": arguments.seed,
            **model_facts(arguments, pipeline),
            "settings": {**settings, "precision": arguments.precision, **options.as_dict()},
        }
        images = [from_pil(image) for image in (result.videos or [result.images[:1]])[0]]
        rate = defaults.frame_rate
        quiet, kind = arguments.quiet, arguments.video
        results = write_results(folder, images, result.recording, options, facts, clock, (), rate, quiet, kind)
    seconds = clock.seconds["generate"]
    title = f'Generated "{arguments.prompt}" with {arguments.model} in {seconds:.1f} s (seed {arguments.seed}).'
    print_report(results, title, arguments.json)
