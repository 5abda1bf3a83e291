"""The commands and their arguments. Nothing here imports torch, so that `--help` answers at once."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from importlib import metadata
from typing import NoReturn

from ..choices import KEEPS, MODE_NAMES
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
    if "concepts" in arguments:  # each argument is one line of the concept syntax
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
    _add_evaluate(commands)
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
    sampling.add_argument("--steps", type=values.count, metavar="N", help="sampler steps (default: the model's own)")
    sampling.add_argument("--seed", type=values.seed, default=0, metavar="N", help="seed of the noise (default 0)")
    groups.add_size(sampling, "the image or video", "the model's own")
    groups.add_frames(sampling, "number of video frames")
    sampling.add_argument("--negative-prompt", metavar="TEXT", default="", help="ignored unless --cfg is above 1")
    cfg_help = "classifier-free guidance; 1 turns it off (default: the model's own)"
    sampling.add_argument("--cfg", type=values.number(1), metavar="SCALE", help=cfg_help)
    guidance_help = "distilled guidance, for models such as flux-dev (default: the model's own)"
    sampling.add_argument("--guidance", type=values.number(0), metavar="SCALE", help=guidance_help)
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
        "for CogVideoX",
    )
    groups.add_concepts(parser)
    groups.add_out(parser)
    analysis = parser.add_argument_group("analysis")
    analysis.add_argument("--prompt", metavar="TEXT", default="", help="description of the image (optional)")
    groups.add_noise(analysis, default=0.5)
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
    groups.add_output(parser)


def _add_evaluate(commands: argparse._SubParsersAction) -> None:
    parser = _add_command(
        commands,
        "evaluate",
        "[--count N] [--seed N]",
        "measure heatmaps on drawn scenes whose true concept maps are known",
    )
    parser.add_argument("--dataset", choices=("landscapes",), default="landscapes", help="scenes to measure on")
    count_help = "number of scenes, up to 100000 (default 200)"
    parser.add_argument("--count", type=values.count, default=200, metavar="N", help=count_help)
    seed_help = "any integer; selects scenes that no training step has seen (default 0)"
    parser.add_argument("--seed", type=values.integer, default=0, metavar="N", help=seed_help)
    groups.add_noise(parser, default=0.3)
    prompt_help = "prompt for the model: none (default), or the scene's caption"
    parser.add_argument("--prompt", choices=("none", "caption"), default="none", help=prompt_help)
    groups.add_layers(parser)
    parser.add_argument("--mode", choices=MODE_NAMES, default="auto", help="scoring rule (default: the model's own)")
    groups.add_pooling(parser)
    groups.add_temperature(parser)
    groups.add_size(parser, "the scenes", "the model's own")
    groups.add_frames(parser, "number of frames of the clips that a video model analyzes")
    parser.add_argument("--json", type=values.path, metavar="FILE", help="also write the metrics and settings to FILE")
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
