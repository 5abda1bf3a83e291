"""What can be written on the command line. Nothing here imports torch, so that `--help` comes at once."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import NoReturn

from ..choices import DTYPE_NAMES, KEEPS, KINDS, METHODS, MODE_NAMES, OFFLOADS, POOLINGS, PRECISIONS, READERS
from ..concepts import parse_concepts
from . import values

CONCEPTS_HELP = (
    "what to look for: `sky house tree`, `'sky, house, tree'`, or `'name: longer phrase'` where the text encoder "
    r"should read more than the name; `\,` and `\:` are the characters themselves"
)

ANALYZE_HELP = (
    "a picture file; transparency becomes white. For a model of videos also an animation (GIF, WebP), or a folder with "
    "the frames in the order of their names: 8 n + 1 of them for CogVideoX"
)


class Parser(argparse.ArgumentParser):
    """A parser that raises its errors, so that they are shown like all others: in one line."""

    def error(self, message: str) -> NoReturn:
        raise ValueError(f"{message[0].upper()}{message[1:].rstrip('.')}. See `{self.prog} --help`.")


def parse_arguments(argv: Sequence[str]) -> argparse.Namespace:
    """Read the arguments after the program's name; a ValueError says what is wrong with them.

    `concepts`, where the command has them, are parsed and hold the background ones as well.
    """
    for argument in argv:
        try:
            argument.encode()
        except UnicodeEncodeError:  # bytes that the terminal's encoding does not have
            raise ValueError(f"The argument {argument!r} is not valid Unicode. Write it again.") from None
    arguments = build_parser().parse_args(argv)
    if "concepts" in arguments:  # every argument is one line of the text syntax
        arguments.concepts = parse_concepts("\n".join(arguments.concepts), "\n".join(arguments.background))
    return arguments


def build_parser() -> argparse.ArgumentParser:
    """The parser of the whole command line; `command` names the subcommand."""
    parser = Parser(
        prog="concept-attention",
        description="See where a diffusion transformer places each concept, and turn that into masks.",
        epilog="`concept-attention COMMAND --help` says more about a command.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_generate(commands)
    _add_analyze(commands)
    _add_heatmaps(commands)
    _add_evaluate(commands)
    return parser


def _add_generate(commands: argparse._SubParsersAction) -> None:
    parser = _command(
        commands,
        "generate",
        "PROMPT --concepts CONCEPT [...] --out DIR",
        "make a picture or video from a prompt, with a heatmap and a mask per concept",
    )
    parser.add_argument("prompt", metavar="PROMPT", help="what the picture shows")
    _add_concepts(parser)
    _add_out(parser)
    sampling = parser.add_argument_group("sampling")
    sampling.add_argument("--steps", type=values.count, metavar="N", help="sampler steps (default: the model's own)")
    sampling.add_argument(
        "--seed", type=values.seed, default=0, metavar="N", help="of the noise the picture begins with (default 0)"
    )
    _add_size(sampling, "of the picture (default: the model's own)")
    _add_frames(sampling, "of a video")
    sampling.add_argument("--negative-prompt", metavar="TEXT", default="", help="used where --cfg is above 1")
    sampling.add_argument(
        "--cfg",
        type=values.number(1),
        metavar="SCALE",
        help="classifier-free guidance; 1 is off (default: the model's own)",
    )
    sampling.add_argument(
        "--guidance",
        type=values.number(0),
        metavar="SCALE",
        help="distilled guidance, for models that have it, as flux-dev",
    )
    recording = _add_recording(parser)
    recording.add_argument(
        "--keep",
        choices=KEEPS,
        default="every step",
        help="`running mean` records one map per layer however many steps there are: for videos and long runs",
    )
    _add_reading(parser, steps="sampler steps")
    _add_model(parser)
    _add_output(parser)


def _add_analyze(commands: argparse._SubParsersAction) -> None:
    parser = _command(
        commands,
        "analyze",
        "IMAGE --concepts CONCEPT [...] --out DIR",
        "find concepts in a picture or video that you have: a heatmap and a mask for each",
    )
    parser.add_argument("image", metavar="IMAGE", type=values.path, help=ANALYZE_HELP)
    _add_concepts(parser)
    _add_out(parser)
    looking = parser.add_argument_group("looking at the picture")
    looking.add_argument("--prompt", metavar="TEXT", default="", help="what the picture shows, if you care to say")
    _add_noise(looking, default=0.5)
    looking.add_argument("--seed", type=values.seed, default=0, metavar="N", help="of the noise (default 0)")
    _add_size(looking, "the model looks at (default: the picture's aspect at about the model's own size)")
    _add_recording(parser)
    _add_reading(parser, steps="noise samples")
    _add_model(parser)
    _add_output(parser)


def _add_heatmaps(commands: argparse._SubParsersAction) -> None:
    parser = _command(
        commands, "heatmaps", "RECORDING --out DIR", "make other heatmaps and masks from a recording, without the model"
    )
    parser.add_argument(
        "recording", metavar="RECORDING", type=values.path, help="recording.safetensors of `generate` or `analyze`"
    )
    parser.add_argument(
        "--image", type=values.path, help="its picture or video (default: image.png or video.gif beside it)"
    )
    _add_out(parser)
    parser.add_argument("--mode", choices=MODE_NAMES, default="auto", help="scoring rule (default: the recorded one)")
    _add_reading(parser, steps="recorded steps")
    _add_output(parser)


def _add_evaluate(commands: argparse._SubParsersAction) -> None:
    parser = _command(
        commands,
        "evaluate",
        "[--count N] [--seed N]",
        "measure heatmaps on drawn scenes whose true concept maps are known",
    )
    parser.add_argument(
        "--dataset", choices=("landscapes",), default="landscapes", help="what to measure on (the only one so far)"
    )
    parser.add_argument(
        "--count", type=values.count, default=200, metavar="N", help="scenes, up to 100000 (default 200)"
    )
    parser.add_argument(
        "--seed",
        type=values.whole,
        default=0,
        metavar="N",
        help="any whole number; chooses scenes that no training step saw (default 0)",
    )
    _add_noise(parser, default=0.3)
    parser.add_argument(
        "--prompt", choices=("none", "caption"), default="none", help="tell the model what it sees (default none)"
    )
    parser.add_argument("--layers", default="auto", help="joint blocks: auto, all, 15-18, 3,7 (default auto)")
    parser.add_argument("--mode", choices=MODE_NAMES, default="auto", help="fidelity mode (default auto)")
    parser.add_argument("--pooling", choices=POOLINGS, default="auto", help="of phrases of several tokens")
    parser.add_argument(
        "--temperature", type=float, metavar="T", help="of the softmax over concepts (default: the mode's own)"
    )
    _add_size(parser, "of the scenes (default: the model's own)")
    _add_frames(parser, "of the clips that a model of videos is shown")
    parser.add_argument("--json", type=values.path, metavar="FILE", help="also write the figures and settings to FILE")
    _add_model(parser)
    parser.add_argument("--quiet", action="store_true", help="no progress on stderr")


def _command(commands: argparse._SubParsersAction, name: str, needed: str, summary: str) -> argparse.ArgumentParser:
    usage = f"concept-attention {name} {needed} [options]"
    return commands.add_parser(name, usage=usage, help=summary, description=f"{summary[0].upper()}{summary[1:]}.")


def _add_concepts(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--concepts", nargs="+", required=True, metavar="CONCEPT", help=CONCEPTS_HELP)
    parser.add_argument(
        "--background",
        nargs="+",
        default=[],
        metavar="CONCEPT",
        help="concepts that compete for the picture but are not of interest themselves",
    )


def _add_out(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--out",
        type=values.path,
        required=True,
        metavar="DIR",
        help="folder to fill; files of an earlier run are replaced",
    )


def _add_frames(parser: argparse._ActionsContainer, of_what: str) -> None:
    help_text = f"{of_what}, 8 n + 1 for CogVideoX (default: the model's own)"
    parser.add_argument("--frames", type=values.count, metavar="N", help=help_text)


def _add_size(group: argparse._ActionsContainer, what: str) -> None:
    group.add_argument("--width", type=values.side, metavar="PIXELS", help=f"multiple of 16, {what}")
    group.add_argument("--height", type=values.side, metavar="PIXELS", help="the same for the height")


def _add_noise(group: argparse._ActionsContainer, default: float) -> None:
    group.add_argument(
        "--noise",
        type=values.noise,
        default=default,
        metavar="SIGMA",
        help=f"noise level at which the model looks, above 0 (the picture) up to 1 (only noise) (default {default})",
    )
    group.add_argument(
        "--samples", type=values.count, default=1, metavar="N", help="independent noises to average over (default 1)"
    )


def _add_recording(parser: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    group = parser.add_argument_group("recording", "All joint blocks and steps go into recording.safetensors.")
    group.add_argument("--mode", choices=MODE_NAMES, default="auto", help="scoring rule (default: the model's own)")
    group.add_argument("--pooling", choices=POOLINGS, default="auto", help="of phrases of several tokens")
    group.add_argument(
        "--reader",
        choices=READERS,
        default="auto",
        help="Stable Diffusion 3: t5 reads each concept alone (default where there is a T5), clip all in one line",
    )
    group.add_argument(
        "--precision", choices=PRECISIONS, default="float32", help="of the recorded scores; float16 halves the file"
    )
    return group


def _add_reading(parser: argparse.ArgumentParser, steps: str) -> None:
    group = parser.add_argument_group("heatmaps", "What they are made of; all of it can be changed later (`heatmaps`).")
    group.add_argument("--layers", default="auto", help="joint blocks: auto, all, 15-18, 3,7 (default auto)")
    group.add_argument(
        "--heatmap-steps",
        default="all",
        metavar="STEPS",
        help=f"of the {steps}: all, 3-7, 0,2, -1 for the last; ranges from the end as `=-3--1` (default all)",
    )
    group.add_argument(
        "--temperature", type=float, metavar="T", help="of the softmax over concepts (default: the mode's own)"
    )
    group.add_argument(
        "--kind",
        choices=KINDS,
        default="share",
        help="what is drawn: share 0-1 of each concept (default), raw score, or shares stretched to 0-1",
    )
    group.add_argument("--colormap", default="viridis", help="any of matplotlib's (default viridis)")
    group.add_argument(
        "--opacity", type=values.number(0, 1), default=0.7, help="of the colours over the picture, 0-1 (default 0.7)"
    )
    masks = parser.add_argument_group("masks", "Always made from shares.")
    masks.add_argument(
        "--mask",
        choices=METHODS,
        default="argmax",
        help="argmax: white where the concept beats every other one, so an absent concept has an empty mask (default); "
        "soft: the share as grey; threshold: share above --threshold; mean, otsu, percentile: each map by itself",
    )
    masks.add_argument("--threshold", type=values.number(0, 1), default=0.5, help="for threshold, 0-1 (default 0.5)")
    masks.add_argument(
        "--percentile", type=values.number(0, 100), default=90.0, help="for percentile, 0-100 (default 90)"
    )
    masks.add_argument(
        "--blur", type=values.number(0, 1000), default=0.0, metavar="PIXELS", help="soften them (default 0)"
    )


def _add_model(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("model")
    group.add_argument(
        "--model",
        default="tiny",
        help="tiny (the embedded landscape model, default), tiny-sd3, tiny-cogvideox, flux-schnell, flux-dev, "
        "flux.2-dev, flux.2-klein-4b, flux.2-klein-9b, sd3-medium, sd3.5-medium, sd3.5-large, sd3.5-large-turbo, "
        "cogvideox-2b, cogvideox-5b, cogvideox1.5-5b, a diffusers folder or a hub id",
    )
    group.add_argument("--device", default="auto", help="auto (default), cpu, cuda, cuda:1, mps")
    group.add_argument("--dtype", choices=DTYPE_NAMES, default="auto", help="of the weights (default: the model's own)")
    group.add_argument(
        "--offload", choices=OFFLOADS, default="none", help="keep weights in main memory while they are not needed"
    )


def _add_output(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("output")
    group.add_argument("--json", action="store_true", help="print what summary.json holds, and nothing else, on stdout")
    group.add_argument("--quiet", action="store_true", help="no progress on stderr")
