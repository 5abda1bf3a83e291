"""Arguments that several commands share, without torch like `arguments`."""

from __future__ import annotations

from argparse import ArgumentParser, _ActionsContainer, _ArgumentGroup

from ..choices import (
    BLENDS,
    DTYPE_NAMES,
    ENGINES,
    KINDS,
    METHODS,
    MODE_NAMES,
    OFFLOADS,
    POOLINGS,
    PRECISIONS,
    READERS,
    VIDEO_KINDS,
)
from . import values

FLIP_HELP = "also look at the picture mirrored, and average; takes twice the time"
QUIET_HELP = "no progress on stderr"


def add_concepts(parser: ArgumentParser, required: bool = True) -> None:
    parser.add_argument(
        "--concepts",
        nargs="+",
        required=required,
        default=[],
        metavar="CONCEPT",
        help="what to look for: `sky house tree`, `'sky, house, tree'`, or `'name: longer phrase'` to give the text "
        r"encoder more than the name; write `\,` and `\:` for the characters themselves",
    )
    parser.add_argument(
        "--background",
        nargs="+",
        default=[],
        metavar="CONCEPT",
        help="concepts that compete with the others but are not of interest themselves",
    )


def add_out(parser: ArgumentParser) -> None:
    help_text = "folder for the results; files of an earlier run are replaced"
    parser.add_argument("--out", type=values.path, required=True, metavar="DIR", help=help_text)


def add_sampling(group: _ActionsContainer) -> None:
    group.add_argument("--steps", type=values.count, metavar="N", help="sampler steps (default: the model's own)")
    group.add_argument("--negative-prompt", metavar="TEXT", default="", help="ignored unless --cfg is above 1")
    cfg_help = "classifier-free guidance; 1 turns it off (default: the model's own)"
    group.add_argument("--cfg", type=values.number(1), metavar="SCALE", help=cfg_help)
    guidance_help = "distilled guidance, for models such as flux-dev (default: the model's own)"
    group.add_argument("--guidance", type=values.number(0), metavar="SCALE", help=guidance_help)


def add_frames(group: _ActionsContainer, description: str) -> None:
    help_text = f"{description}, 8 n + 1 for CogVideoX, 17 n + 5 for MiniMax-H3 (default: the model's own)"
    group.add_argument("--frames", type=values.count, metavar="N", help=help_text)


def add_size(group: _ActionsContainer, of_what: str, default: str) -> None:
    for side in ("width", "height"):
        help_text = f"{side} of {of_what}, a multiple of 16 (default: {default})"
        group.add_argument(f"--{side}", type=values.side, metavar="PIXELS", help=help_text)


def add_noise(group: _ActionsContainer, default: float) -> None:
    noise_help = f"noise level of the analysis, above 0 (no noise) and up to 1 (pure noise) (default {default})"
    group.add_argument("--noise", type=values.noise, default=default, metavar="SIGMA", help=noise_help)
    samples_help = "number of noise samples to average (default 1)"
    group.add_argument("--samples", type=values.count, default=1, metavar="N", help=samples_help)


def add_pooling(group: _ActionsContainer) -> None:
    help_text = "how the tokens of a multi-token concept are pooled (default auto)"
    group.add_argument("--pooling", choices=POOLINGS, default="auto", help=help_text)


def add_layers(group: _ActionsContainer) -> None:
    help_text = "joint blocks to average, counted from 0: auto (default), all, 15-18, 3,7"
    group.add_argument("--layers", default="auto", help=help_text)


def add_temperature(group: _ActionsContainer) -> None:
    help_text = "softmax temperature over concepts (default: the mode's own)"
    group.add_argument("--temperature", type=float, metavar="T", help=help_text)


def add_reading(group: _ActionsContainer) -> None:
    group.add_argument("--mode", choices=MODE_NAMES, default="auto", help="scoring rule (default: the model's own)")
    add_pooling(group)
    group.add_argument(
        "--reader",
        choices=READERS,
        default="auto",
        help="text encoder for the concepts of Stable Diffusion 3: t5 encodes each concept alone (default if the model "
        "has a T5), clip encodes all of them in one line",
    )


def add_recording(parser: ArgumentParser) -> _ArgumentGroup:
    group = parser.add_argument_group("recording", "recording.safetensors holds all joint blocks.")
    add_reading(group)
    precision_help = (
        "data type of the recorded scores; float16 makes the file of five concepts 40 %% smaller (default float32)"
    )
    group.add_argument("--precision", choices=PRECISIONS, default="float32", help=precision_help)
    return group


def add_heatmaps(parser: ArgumentParser, steps: str) -> None:
    """The options of heatmaps and masks; `steps` says what the steps of the recording are."""
    group = parser.add_argument_group("heatmaps", "`concept-attention heatmaps` can change these later.")
    add_layers(group)
    group.add_argument(
        "--heatmap-steps",
        default="all",
        metavar="STEPS",
        help=f"{steps} to average: all (default), 3-7, 0,2, -1 for the last, `=-3--1` for the last three",
    )
    add_temperature(group)
    group.add_argument(
        "--kind",
        choices=KINDS,
        default="share",
        help="what the heatmaps show: each concept's share 0-1 (default), the raw score, shares stretched to 0-1, or "
        "presence: 0-1, each concept by itself against neutral words, so that concepts may overlap",
    )
    group.add_argument("--colormap", default="viridis", help="any colormap of matplotlib (default viridis)")
    group.add_argument("--opacity", type=values.number(0, 1), default=0.7, help="of the overlay, 0-1 (default 0.7)")
    text = "opacity by value: the image shows where a concept is not; or even (default by value)"
    group.add_argument("--blend", choices=BLENDS, default="by value", help=text)
    add_masks(parser)


def add_masks(parser: ArgumentParser) -> _ArgumentGroup:
    masks = parser.add_argument_group("masks", "Masks are made from shares; with `--kind presence`, from presence.")
    masks.add_argument(
        "--mask",
        choices=METHODS,
        default="argmax",
        help="argmax: white where the concept has the highest share, so an absent concept has an empty mask (default); "
        "soft: the share as grey level; threshold: white where the share exceeds --threshold; mean, otsu, percentile: "
        "a threshold computed from each map",
    )
    masks.add_argument("--threshold", type=values.number(0, 1), default=0.5, help="for threshold, 0-1 (default 0.5)")
    percentile_help = "for percentile, 0-100 (default 90)"
    masks.add_argument("--percentile", type=values.number(0, 100), default=90.0, help=percentile_help)
    blur_help = "standard deviation of a Gaussian blur (default 0)"
    masks.add_argument("--blur", type=values.number(0, 1000), default=0.0, metavar="PIXELS", help=blur_help)
    return masks


def add_model(parser: ArgumentParser, one_device: bool = True) -> None:
    group = parser.add_argument_group("model")
    group.add_argument(
        "--model",
        default="tiny",
        help="tiny (the embedded landscape model, default), tiny-sd3, tiny-cogvideox, tiny-sd, flux-schnell, flux-dev, "
        "flux.2-dev, flux.2-klein-4b, flux.2-klein-9b, sd3-medium, sd3.5-medium, sd3.5-large, sd3.5-large-turbo, "
        "cogvideox-2b, cogvideox-5b, cogvideox1.5-5b, qwen-image, z-image-turbo, lumina-2, chroma, longcat-image, "
        "ovis-image, bria, auraflow, hidream, ideogram-4, joyimage, cogview3-plus, cogview4, hunyuan-video, "
        "hunyuan-video-1.5, motif-video, mochi, easyanimate, sd1.5, sdxl, kolors, wan2.1-1.3b, wan2.1-14b, wan2.2-14b, "
        "ltx-video, ltx-2, ltx-2.3, qwen-image-2.1, flux.3-klein, flux.3-klein-base, minimax-h3, fibo-2, kandinsky-5, "
        "kandinsky-5-image, pixart-alpha, pixart-sigma, hunyuan-dit, sana, sana-video, latte, cosmos-1, "
        "cosmos-predict2, a diffusers folder or a hub id",
    )
    if one_device:
        add_device(group)
    dtype_help = "of the weights (default: float32 for the embedded models, else bfloat16)"
    group.add_argument("--dtype", choices=DTYPE_NAMES, default="auto", help=dtype_help)
    offload_help = "keep weights in main memory while they are not needed (default none)"
    group.add_argument("--offload", choices=OFFLOADS, default="none", help=offload_help)


def add_device(parser: ArgumentParser | _ArgumentGroup) -> None:
    parser.add_argument("--device", default="auto", help="auto (default), cpu, cuda, cuda:1, mps")


def add_output(parser: ArgumentParser) -> None:
    group = parser.add_argument_group("output")
    group.add_argument("--json", action="store_true", help="print the content of summary.json instead of a report")
    group.add_argument("--quiet", action="store_true", help=QUIET_HELP)
    video_help = (
        "kind of the files of a video; mp4 and mov need PyAV (pip install av). Masks are always GIFs, which keep "
    )
    group.add_argument("--video", choices=VIDEO_KINDS, default="gif", help=f"{video_help}every value (default gif)")


def add_label_work(parser: ArgumentParser) -> None:
    """How the work of `label` is divided."""
    group = parser.add_argument_group("work")
    engine_help = "local: workers on this machine (default); ray: workers on a Ray cluster, see --address"
    group.add_argument("--engine", choices=ENGINES, default="local", help=engine_help)
    devices_help = "one worker on each: auto (default: every CUDA device, else the best there is), cpu, cuda:0,cuda:1"
    group.add_argument("--devices", default="auto", metavar="DEVICES", help=devices_help)
    workers_help = "number of workers (default: one per device; on Ray as many as fit)"
    group.add_argument("--workers", type=values.count, metavar="N", help=workers_help)
    part_help = "label only the I-th of N parts; N runs, each with its part, label the whole"
    group.add_argument("--part", type=values.part, default=(1, 1), metavar="I/N", help=part_help)
    address_help = "of the Ray cluster: auto for the one of this machine (default: start one for this run)"
    group.add_argument("--address", metavar="ADDRESS", help=address_help)
    gpus_help = "GPUs of a worker on Ray, may be a fraction (default: 1 if the cluster has GPUs)"
    group.add_argument("--gpus-per-worker", type=values.number(0), metavar="GPUS", help=gpus_help)
    shard_help = "picture files, or prompts, that are written together (default 100)"
    group.add_argument("--shard-size", type=values.count, default=100, metavar="N", help=shard_help)
    batch_help = "pictures of one size that the model gets at once (default 8)"
    group.add_argument("--batch", type=values.count, default=8, metavar="N", help=batch_help)
