"""The commands and their arguments. Nothing here imports torch, so that `--help` answers at once."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from importlib import metadata
from typing import NoReturn

from ..choices import (
    ATTENDS,
    DATA_SETS,
    KEEPS,
    LAYOUTS,
    METHODS_COMPARED,
    MODE_NAMES,
    REFINEMENT_NAMES,
    SWEEP_NAMES,
)
from ..concepts import parse_concepts
from ..errors import UserError
from . import argument_groups as groups
from . import values


class Parser(argparse.ArgumentParser):
    """A parser that raises its errors, so that `main` prints them in one line like all others."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message[0].upper()}{message[1:].rstrip('.')}. See `{self.prog} --help`.")


def parse_arguments(argv: Sequence[str]) -> argparse.Namespace:
    """Parse the arguments after the program's name.

    Returns:
        The values of all arguments. `concepts`, for commands that have them, is a tuple of `Concept` that includes the
        background concepts.

    Raises:
        UserError: for arguments that cannot be parsed.
    """
    for argument in argv:
        try:
            argument.encode()
        except UnicodeEncodeError:  # bytes that the terminal's encoding does not have
            raise UserError(f"The argument {argument!r} is not valid Unicode. Type it again.") from None
    arguments = build_parser().parse_args(argv)
    if getattr(arguments, "concepts", None):  # each argument is one line of the concept syntax
        arguments.concepts = parse_concepts("\n".join(arguments.concepts), "\n".join(arguments.background))
    return arguments


def build_parser() -> argparse.ArgumentParser:
    """The parser of the whole command line; `command` holds the name of the subcommand."""
    parser = Parser(
        prog="concept-attention",
        description="Show where a diffusion transformer places each concept, and make masks from that.",
        epilog="`concept-attention COMMAND --help` describes the arguments of a command.",
    )
    parser.add_argument("--version", action="version", version=f"concept-attention {_version()}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_generate(commands)
    _add_analyze(commands)
    _add_heatmaps(commands)
    _add_check(commands)
    _add_label(commands)
    _add_benchmark(commands)
    return parser


def _add_generate(commands: argparse._SubParsersAction) -> None:
    parser = _add_command(
        commands,
        "generate",
        "PROMPT --concepts CONCEPT [...] --out DIR",
        "generate an image or video from a prompt, with a heatmap and a mask for each concept",
    )
    parser.add_argument("prompt", metavar="PROMPT", help="description of the image or video")
    groups.add_concepts(parser)
    groups.add_out(parser)
    sampling = parser.add_argument_group("sampling")
    sampling.add_argument("--seed", type=values.seed, default=0, metavar="N", help="seed of the noise (default 0)")
    groups.add_size(sampling, "the image or video", "the model's own")
    groups.add_frames(sampling, "number of video frames")
    groups.add_sampling(sampling)
    recording = groups.add_recording(parser)
    recording.add_argument(
        "--keep",
        choices=KEEPS,
        default="every step",
        help="every step (default), or one running mean over all steps, which suits videos and long runs",
    )
    groups.add_heatmaps(parser, steps="sampler steps")
    groups.add_model(parser)
    groups.add_output(parser)


def _add_analyze(commands: argparse._SubParsersAction) -> None:
    parser = _add_command(
        commands,
        "analyze",
        "IMAGE --concepts CONCEPT [...] --out DIR",
        "find concepts in an existing image or video, with a heatmap and a mask for each",
    )
    parser.add_argument(
        "image",
        metavar="IMAGE",
        type=values.path,
        help="an image file; transparent areas become white. Video models also take an animation (GIF, WebP), a video "
        "(MP4, MOV; needs PyAV) or a folder with one image per frame, in the order of the file names: 8 n + 1 frames "
        "for CogVideoX, 17 n + 5 for MiniMax-H3",
    )
    groups.add_concepts(parser)
    groups.add_out(parser)
    analysis = parser.add_argument_group("analysis")
    analysis.add_argument("--prompt", metavar="TEXT", default="", help="description of the image (optional)")
    groups.add_noise(analysis, default=0.5)
    analysis.add_argument("--flip", action="store_true", help=groups.FLIP_HELP)
    analysis.add_argument("--seed", type=values.seed, default=0, metavar="N", help="seed of the noise (default 0)")
    groups.add_size(analysis, "the model's input", "about the model's own size, in the image's aspect ratio")
    groups.add_recording(parser)
    groups.add_heatmaps(parser, steps="noise samples")
    groups.add_model(parser)
    groups.add_output(parser)


def _add_heatmaps(commands: argparse._SubParsersAction) -> None:
    parser = _add_command(
        commands,
        "heatmaps",
        "RECORDING --out DIR",
        "make heatmaps and masks with other settings from a recording, without the model",
    )
    recording_help = "recording.safetensors from `generate` or `analyze`, or the folder it is in"
    parser.add_argument("recording", metavar="RECORDING", type=values.path, help=recording_help)
    image_help = "the recorded image or video (default: image.png, or the video, in the recording's folder)"
    parser.add_argument("--image", type=values.path, help=image_help)
    groups.add_out(parser)
    parser.add_argument("--mode", choices=MODE_NAMES, default="auto", help="scoring rule (default: the recorded one)")
    groups.add_heatmaps(parser, steps="recorded steps")
    groups.add_device(parser)
    groups.add_output(parser)


def _add_check(commands: argparse._SubParsersAction) -> None:
    parser = _add_command(
        commands,
        "check",
        "[--model NAME] [--scenes N]",
        "check a model: whether its maps find what drawn scenes show, and what recording them costs",
    )
    scenes_help = "number of drawn scenes (default 40)"
    parser.add_argument("--scenes", type=values.count, default=40, metavar="N", help=scenes_help)
    seed_help = "any integer; selects the scenes (default 0)"
    parser.add_argument("--seed", type=values.integer, default=0, metavar="N", help=seed_help)
    noise_help = "noise level, above 0 (no noise) and up to 1 (pure noise) (default 0.3)"
    parser.add_argument("--noise", type=values.noise, default=0.3, metavar="SIGMA", help=noise_help)
    rounds_help = "how often the time and memory of a run with and without recording are compared (default 3)"
    parser.add_argument("--rounds", type=values.count, default=3, metavar="N", help=rounds_help)
    groups.add_size(parser, "the scenes", "the model's own")
    groups.add_frames(parser, "number of frames of the clips that a video model is shown")
    parser.add_argument("--json", type=values.path, metavar="FILE", help="also write the figures to FILE")
    groups.add_model(parser)
    parser.add_argument("--mode", choices=MODE_NAMES, default="auto", help="scoring rule (default: the model's own)")
    host = parser.add_argument_group("ComfyUI", "Run with the Python that runs ComfyUI.")
    checkpoint_help = "instead of --model: a checkpoint with model, text encoder and VAE, checked in ComfyUI"
    host.add_argument("--comfyui-checkpoint", type=values.path, metavar="FILE", help=checkpoint_help)
    folder_help = (
        "ComfyUI's folder (default: COMFYUI_PATH, or the one that this pack lies in); with tiny-sd it is checked there"
    )
    host.add_argument("--comfyui", type=values.path, metavar="DIR", help=folder_help)
    parser.add_argument("--quiet", action="store_true", help=groups.QUIET_HELP)


def _add_label(commands: argparse._SubParsersAction) -> None:
    parser = _add_command(
        commands,
        "label",
        "DATASET [...] --concepts CONCEPT [...] --out DIR",
        "find concepts in every picture of a data set and write masks in a trainer's layout; run again, it goes on",
    )
    dataset_help = "a folder of pictures, tar archives (WebDataset), Parquet files, or a COCO annotation file"
    parser.add_argument("dataset", metavar="DATASET", nargs="*", type=values.path, help=dataset_help)
    generate_help = "instead of a data set: make a picture for every line of this file, and label it"
    parser.add_argument("--generate", metavar="PROMPTS.txt", type=values.path, help=generate_help)
    verify_help = "only check that a labelled data set is as its manifest says"
    parser.add_argument("--verify", metavar="DIR", type=values.path, help=verify_help)
    groups.add_concepts(parser, required=False)
    parser.add_argument("--out", type=values.path, metavar="DIR", help="folder for the labels")
    format_help = "layout of the labels: a mask per concept (default), annotations, tables, or what a trainer reads"
    parser.add_argument("--format", choices=LAYOUTS, default="masks", help=format_help)
    presence_help = "leave out concepts whose presence in a picture is lower, 0-1 (default 0: leave out nothing)"
    parser.add_argument("--min-presence", type=values.number(0, 1), default=0.0, metavar="PRESENCE", help=presence_help)
    parser.add_argument("--caption", metavar="TEXT", default="", help="caption of pictures that have none")
    images_help = "folder of the pictures of a COCO file (default: beside the file)"
    parser.add_argument("--images", type=values.path, metavar="DIR", help=images_help)
    groups.add_label_work(parser)
    analysis = parser.add_argument_group("analysis")
    analysis.add_argument("--prompt", metavar="TEXT", default="", help="description of all pictures (optional)")
    groups.add_noise(analysis, default=0.5)
    analysis.add_argument("--seed", type=values.seed, default=0, metavar="N", help="seed of the noise (default 0)")
    groups.add_size(analysis, "the model's input", "about the model's own size, in the picture's aspect ratio")
    groups.add_reading(analysis)
    groups.add_layers(analysis)
    groups.add_temperature(analysis)
    groups.add_sampling(parser.add_argument_group("sampling", "Only with --generate."))
    groups.add_masks(parser)
    groups.add_model(parser, one_device=False)
    output = parser.add_argument_group("output")
    json_help = "print progress and the result as lines of JSON instead of a report"
    output.add_argument("--json", action="store_true", help=json_help)
    output.add_argument("--quiet", action="store_true", help=groups.QUIET_HELP)


def _add_benchmark(commands: argparse._SubParsersAction) -> None:
    parser = _add_command(
        commands,
        "benchmark",
        "DATASET --data PATH --out DIR",
        "compare maps with the label maps of a data set, by the paper's protocol or a stricter one",
    )
    parser.add_argument("dataset", metavar="DATASET", choices=DATA_SETS, help=", ".join(DATA_SETS))
    data_help = "folder of the data set; nothing is downloaded, and without it an error says where to get it"
    parser.add_argument("--data", type=values.path, metavar="PATH", help=data_help)
    names_help = "class list (one per line), or for imagenet-seg a JSON file with a word for each synset"
    parser.add_argument("--names", type=values.path, metavar="FILE", help=names_help)
    groups.add_out(parser)
    what = parser.add_argument_group("what is measured")
    protocol_help = "paper: as its tables were made; proper: own shape, own size, void left out, more figures (default)"
    what.add_argument("--protocol", choices=("paper", "proper"), default="proper", help=protocol_help)
    classes_help = "concepts are the picture's own classes (present, default) or every class at once (all)"
    what.add_argument("--classes", choices=("present", "all"), help=classes_help)
    method_help = "vectors to compare (concept, value, cross), or a baseline (default concept)"
    what.add_argument("--method", choices=METHODS_COMPARED, default="concept", help=method_help)
    what.add_argument("--weights", metavar="NAME", help="weights of a baseline: a folder, or a name in the hub's cache")
    what.add_argument("--sweep", choices=SWEEP_NAMES, help="vary one thing; prints a table and draws a figure")
    refine_help = "refine maps by the picture before they are scored (default none)"
    what.add_argument("--refine", choices=REFINEMENT_NAMES, help=refine_help)
    which = parser.add_argument_group("which pictures")
    which.add_argument("--limit", type=values.count, metavar="N", help="only N pictures, chosen by --choice")
    which.add_argument("--choice", type=values.seed, default=0, metavar="N", help="seed of that choice (default 0)")
    part_help = "record only every N-th picture from the I-th; several processes can share a folder"
    which.add_argument("--part", type=values.part, default=(1, 1), metavar="I/N", help=part_help)
    stage_help = "record (needs the model), score (needs none), or both (default); recordings that exist are kept"
    which.add_argument("--stage", choices=("record", "score", "both"), default="both", help=stage_help)
    maps = parser.add_argument_group("maps", "What is not given is the protocol's own.")
    maps.add_argument("--background", nargs="*", metavar="WORD", help="words that compete with the classes")
    maps.add_argument("--noise", type=values.noise, metavar="SIGMA", help="noise level, above 0 and up to 1")
    maps.add_argument("--samples", type=values.count, metavar="N", help="noise samples to average")
    maps.add_argument("--flip", action="store_true", help=groups.FLIP_HELP)
    maps.add_argument("--seed", type=values.seed, metavar="N", help="seed of the noise")
    maps.add_argument("--layers", metavar="LAYERS", help="joint blocks to record and average: auto, all, 14-17")
    maps.add_argument("--mode", choices=MODE_NAMES, help="scoring rule")
    groups.add_temperature(maps)
    maps.add_argument("--softmax", choices=("yes", "no"), help="shares, or raw scores")
    maps.add_argument("--blur", choices=("yes", "no"), help="the paper's blur of the maps")
    maps.add_argument("--attends", choices=ATTENDS, help="what the concepts attend to")
    maps.add_argument("--low", type=values.count, metavar="PIXELS", help="reduce the picture's longer side first")
    groups.add_model(parser)
    parser.add_argument("--quiet", action="store_true", help=groups.QUIET_HELP)


def _version() -> str:
    try:
        return metadata.version("concept-attention")
    except metadata.PackageNotFoundError:
        return "(of a checkout that is not installed)"


def _add_command(
    commands: argparse._SubParsersAction, name: str, required: str, summary: str
) -> argparse.ArgumentParser:
    usage = f"concept-attention {name} {required} [options]"
    return commands.add_parser(name, usage=usage, help=summary, description=f"{summary[0].upper()}{summary[1:]}.")
