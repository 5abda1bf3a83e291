"""The settings of a benchmark: what the paper fixes for each of its tables, and what can be varied."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

ProtocolName = Literal["paper", "proper"]
Cut = Literal["mean", "argmax"]
Seen = Literal["present", "all"]

IMAGENET_BACKGROUND = ("background", "floor", "tree", "person", "grass", "face")
VOC_BACKGROUND = ("background", "floor", "grass", "tree", "sky")


@dataclass(frozen=True)
class Settings:
    """What decides a benchmark's numbers, besides model and data.

    Attributes:
        protocol: `paper`, as the tables of arXiv:2502.04320 were made, or `proper`, see `protocols`.
        method: how maps are made: `concept`, another space of the same vectors, or a baseline.
        classes: concepts of the picture's own classes (`present`), or of every class (`all`).
        background: words that compete with the classes.
        noise: level added to the picture, 0-1.
        samples: noises whose maps are averaged.
        flip: average with the maps of the picture mirrored, too.
        seed: of the first noise.
        layers: joint blocks whose maps are averaged; `auto`, or as `parse_layers` takes them.
        recorded: joint blocks that are recorded.
        mode: see `make_heatmaps`.
        softmax: shares; False takes the scores themselves.
        temperature: of the softmax; None is the mode's own.
        attends: see `analyze`.
        low: pixels of the longer side that the picture is reduced to first; None leaves it.
        blur: the paper's blur of the maps, 3 x 3 with sigma 1 (protocol `paper`, but for pictures of many classes).
        refine: `none`, or a refinement of `REFINEMENTS` at pixel size (protocol `proper`).
    """

    protocol: ProtocolName
    method: str = "concept"
    classes: Seen = "present"
    background: tuple[str, ...] = ()
    noise: float = 0.5
    samples: int = 1
    seed: int = 0
    layers: str = "auto"
    recorded: str = "auto"
    mode: str = "auto"
    softmax: bool = True
    temperature: float | None = None
    attends: str = "both"
    low: int | None = None
    flip: bool = False
    blur: bool = True
    refine: str = "none"

    def of_recording(self) -> dict[str, Any]:
        """The settings that a recording depends on."""
        scored = ("layers", "softmax", "temperature", "blur", "refine")
        return {name: value for name, value in asdict(self).items() if name not in scored}


# Paper tables of ImageNet-Segmentation (final and space ablation), and of PASCAL VOC.
_IMAGENET = Settings(
    "paper",
    background=IMAGENET_BACKGROUND,
    noise=0.5,
    samples=5,
    seed=4,
    layers="14-17",
    recorded="14-17",
    mode="paper",
)
_SINGLE = Settings(
    "paper",
    background=VOC_BACKGROUND,
    noise=0.5128,
    layers="14-18",
    recorded="14-18",
    mode="paper",
    softmax=False,
)
_MULTI = replace(_SINGLE, layers="14-17", recorded="14-17")
PAPER: Mapping[str, Settings] = {"imagenet-seg": _IMAGENET, "voc-single": _SINGLE, "voc": _MULTI}


def default_settings(dataset: str, protocol: ProtocolName, layer_count: int, background: bool) -> Settings:
    """The settings of a protocol on a data set.

    Args:
        dataset: its name.
        protocol: which.
        layer_count: of the model; the paper's layers are Flux 1's, other models use their `auto`.
        background: whether the data set has a background that the words for it win.
    """
    if protocol == "proper":
        return Settings("proper", background=VOC_BACKGROUND if background else (), noise=0.5)
    settings = PAPER.get(dataset, _MULTI)
    if layer_count != 19:
        settings = replace(settings, layers="auto", recorded="auto")
    return settings if background else replace(settings, background=())
