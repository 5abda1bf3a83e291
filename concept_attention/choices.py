"""Every list of options that users choose from, listed once.

The library, the command line and the nodes read them here; a test compares the viewer's copy in the browser with them.
Nothing here imports torch, so that `concept-attention --help` answers at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

from .errors import UserError

# What was read of a model's attention. `concept`: concepts rode through joint blocks (arXiv:2502.04320). `cross`: how
# much of the text's attention a concept would get. `gram`: how similar the image is to where the concept fits best.
Reading = Literal["concept", "cross", "gram"]
READINGS: tuple[Reading, ...] = get_args(Reading)

# The same for people.
READING_NAMES: dict[Reading, str] = {
    "concept": "concept attention",
    "cross": "cross-attention",
    "gram": "similarity to the best-fitting token",
}

# Scoring rules, named after what they reproduce or read; `scores.MODES` defines them. `auto` is the architecture's, see
# `scores.resolve_mode`.
ModeName = Literal["auto", "paper", "flux", "flux2", "sd3", "cogvideox", "cross", "gram"]
MODE_NAMES: tuple[ModeName, ...] = get_args(ModeName)

# What a heatmap holds: shares of each token, raw scores, shares stretched to 0-1 for display, or presence: each concept
# against null words, so that concepts may overlap and one alone is measured.
Kind = Literal["share", "score", "stretched", "presence"]
KINDS: tuple[Kind, ...] = get_args(Kind)

# How a heatmap becomes a mask.
Method = Literal["soft", "threshold", "argmax", "mean", "otsu", "percentile"]
METHODS: tuple[Method, ...] = get_args(Method)

# How a heatmap covers its image: more where its value is higher, or everywhere alike.
Blend = Literal["by value", "even"]
BLENDS: tuple[Blend, ...] = get_args(Blend)

# How the embeddings of a concept's tokens become one.
Pooling = Literal["auto", "first", "mean", "last"]
POOLINGS: tuple[Pooling, ...] = get_args(Pooling)

# Which text encoder reads the concepts where a model has several (Stable Diffusion 3): `t5` reads each concept alone,
# as arXiv:2502.04320 says; `clip` reads all of them in one line, as the authors' SD3 code does, so that each depends
# on those before it; `auto` is `t5` where there is a T5.
Reader = Literal["auto", "t5", "clip"]
READERS: tuple[Reader, ...] = get_args(Reader)

# What a recording keeps of the recorded steps.
Keep = Literal["every step", "running mean"]
KEEPS: tuple[Keep, ...] = get_args(Keep)

# How a prompt acts in a region: predictions are weighted, or the rest of the picture stays as it is.
RegionWay = Literal["blend", "keep the rest"]
REGION_WAYS: tuple[RegionWay, ...] = get_args(RegionWay)

# The edge of a region.
RegionShape = Literal["soft", "hard"]
REGION_SHAPES: tuple[RegionShape, ...] = get_args(RegionShape)

# What a strength by place is the strength of.
Scaled = Literal["cfg", "controlnet", "denoise"]
SCALED: tuple[Scaled, ...] = get_args(Scaled)

# What concept tokens attend to: concepts and image as in the method, or less, as in the ablations of arXiv:2502.04320.
Attends = Literal["both", "image", "concepts", "itself"]
ATTENDS: tuple[Attends, ...] = get_args(Attends)

# Data sets, ways to make maps, sweeps and refinements of `concept-attention benchmark`.
DATA_SETS = (
    "landscapes", "crayon", "folder", "imagenet-seg", "voc-single", "voc", "voc20", "voc21", "context59", "context60",
    "coco-object", "coco-stuff", "coco-stuff27", "ade150", "cityscapes19",
)  # fmt: skip
METHODS_COMPARED = ("concept", "value", "cross", "uniform", "centre", "dino", "daam", "sam3")
SWEEP_NAMES = ("space", "softmax", "attends", "layers", "noise", "samples", "flip", "concepts", "low", "mode", "refine")
REFINEMENT_NAMES = ("none", "filter", "guided")

# Where weights wait that are not in use: diffusers' own offloading to main memory.
Offload = Literal["none", "model", "sequential"]
OFFLOADS: tuple[Offload, ...] = get_args(Offload)

# Data types of a model's weights.
DtypeName = Literal["auto", "float32", "float16", "bfloat16"]
DTYPE_NAMES: tuple[DtypeName, ...] = get_args(DtypeName)

# Data types of recorded scores.
Precision = Literal["float32", "float16"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)

# Files of a video on the command line.
VideoKind = Literal["gif", "mp4", "mov"]
VIDEO_KINDS: tuple[VideoKind, ...] = get_args(VideoKind)

# How the labels of a data set lie in files; `labelling.formats` has a class for each.
LayoutName = Literal[
    "masks", "coco", "coco-polygons", "yolo", "parquet", "webdataset", "onetrainer", "kohya", "ai-toolkit"
]
LAYOUTS: tuple[LayoutName, ...] = get_args(LayoutName)

# What runs the workers that label a data set: this machine, or a Ray cluster.
Engine = Literal["local", "ray"]
ENGINES: tuple[Engine, ...] = get_args(Engine)


def check_choice(name: str, value: str, options: Sequence[str]) -> None:
    """Check that `value` is one of `options`.

    Args:
        name: of the input, as users know it.
        value: what was given.
        options: what can be given.

    Raises:
        UserError: if it is none of them; the text lists them.
    """
    if value not in options:
        raise UserError(f"{name} {value!r} does not exist. Choose one of {', '.join(options)}.")
