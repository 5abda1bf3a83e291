"""How well a model's concept maps agree with the truth, on drawn scenes that no training step saw."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Literal

import torch
from PIL import Image
from torch import Tensor

from ..concepts import Concept
from ..heatmaps import make_heatmaps
from ..hosts.diffusers.analysis import analyze
from ..hosts.diffusers.loading import defaults_for
from ..hosts.encoded import Pooling
from ..metrics import NO_CLASS, ConfusionMatrix, average_precision
from ..recording import Recording
from .clips import Clip, draw_landscape
from .scenes import FIRST_UNSEEN_SEED, LABELS, Scene, token_coverage

MOST_SCENES = 100_000
ABSENT = 2  # concepts asked for that the scene does not show

Prompt = Literal["none", "caption"]


@dataclass(frozen=True)
class Evaluation:
    """Agreement of concept maps with the truth, at token resolution.

    Attributes:
        pixel_accuracy: share of all tokens won by the concept that covers most of them, 0-1.
        mean_iou: mean over labels of the intersection over union, each pooled over all scenes, 0-1.
        average_precision: mean over every scene and concept it shows of the share map's average precision, 0-1; nan
            if no concept covers most of any token.
        absent_rate: share of all tokens won by concepts their scene does not show, 0-1.
        frame_accuracy: `pixel_accuracy` of every frame of the clips; of pictures it is one number.
        moving_iou: mean over clips, the things that move and frames of the intersection over union of what a thing's
            concept wins and what it covers most of, 0-1; nan for pictures.
        per_class_iou: intersection over union by label, 0-1; nan for one neither shown nor claimed.
        scenes: how many were drawn.
        layers: joint blocks the maps are made of.
        mode: fidelity mode they are read in.
        width, height: of the scenes, in pixels.
        frames: of the clips, 1 for pictures.
    """

    pixel_accuracy: float
    mean_iou: float
    average_precision: float
    absent_rate: float
    frame_accuracy: tuple[float, ...]
    moving_iou: float
    per_class_iou: dict[str, float]
    scenes: int
    layers: tuple[int, ...]
    mode: str
    width: int
    height: int
    frames: int


def evaluate_landscapes(
    pipeline: Any,
    count: int,
    seed: int = 0,
    *,
    noise: float = 0.3,
    samples: int = 1,
    prompt: Prompt = "none",
    layers: str | Sequence[int] = "auto",
    mode: str = "auto",
    temperature: float | None = None,
    pooling: Pooling = "auto",
    width: int | None = None,
    height: int | None = None,
    frames: int | None = None,
    on_scene: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Analyze `count` drawn scenes and compare the maps of their concepts with their label maps.

    A scene's concepts are the words for what it shows and two for what it does not. Its truth is, for every token,
    the label that covers most of it. A token goes to the concept with the greatest share; a tie is nobody's. A model of
    videos is shown clips, in which things move.

    Args:
        pipeline: as `load_pipeline` gives it.
        count: scenes, 1 to 100,000.
        seed: any whole number; chooses the scenes, all from seeds that training never draws.
        noise, samples, layers, mode, pooling: as in `analyze`.
        prompt: what the model reads beside the picture: nothing, or the scene's caption.
        temperature: as in `make_heatmaps`.
        width, height: pixels of the scenes, multiples of 16; None is the model's own size.
        frames: of the clips, as many as the model's VAE makes; None is the model's own number.
        on_scene: called after each scene with (scenes done, scenes in all).

    Raises:
        ValueError: for a number of scenes or a prompt that does not exist, and as `draw_scene`, `analyze` and
            `make_heatmaps`.
    """
    if prompt not in ("none", "caption"):
        raise ValueError(f'The prompt is "none" or "caption", got {prompt!r}.')
    defaults = defaults_for(pipeline)
    width, height = width or defaults.width, height or defaults.height
    frames = frames or defaults.frames

    def look(scene: Scene) -> Recording:
        return analyze(
            pipeline,
            [Image.fromarray(one) for one in scene.image.reshape(-1, height, width, 3)],
            scene_concepts(scene),
            prompt=scene.caption if prompt == "caption" else "",
            noise=noise,
            samples=samples,
            width=width,
            height=height,
            seed=noise_seed(scene),
            layers=layers,
            mode=mode,
            pooling=pooling,
        )

    return score_landscapes(look, count, seed, width, height, frames, temperature=temperature, on_scene=on_scene)


def score_landscapes(
    look: Callable[[Scene], Recording],
    count: int,
    seed: int,
    width: int,
    height: int,
    frames: int = 1,
    *,
    temperature: float | None = None,
    on_scene: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Compare with the truth what a host records of `count` drawn scenes; see `evaluate_landscapes`.

    Args:
        look: records a scene's picture with its `scene_concepts`, in their order.
        count, seed, width, height, frames, temperature, on_scene: as of `evaluate_landscapes`.

    Raises:
        ValueError: for a number of scenes that does not exist, and as `draw_scene` and `make_heatmaps`.
    """
    if not 1 <= count <= MOST_SCENES:
        raise ValueError(f"Scenes can be counted from 1 to {MOST_SCENES}, got {count}.")
    tally = _Tally()
    for index in range(count):
        scene = draw_landscape(unseen_seed(seed, index), width, height, frames)
        recording = look(scene)
        heatmaps = make_heatmaps(recording, "all", temperature=temperature).per_frame()
        tally.add(scene, recording, heatmaps.values[0])
        if on_scene is not None:
            on_scene(index + 1, count)
    return tally.result(recording)


def unseen_seed(seed: int, index: int) -> int:
    """Scene seed of the `index`-th scene that `seed` chooses: never one of training's, and no two the same.

    Args:
        seed: any whole number.
        index: 0 to 99,999.
    """
    natural = 2 * seed if seed >= 0 else -2 * seed - 1
    return FIRST_UNSEEN_SEED + natural * MOST_SCENES + index


def scene_concepts(scene: Scene) -> tuple[Concept, ...]:
    """The scene's own words, then two labels of which nothing at all is to be seen; always the same for a scene."""
    shown = {LABELS[index] for index in set(scene.labels.flat)}
    absent = [label for label in LABELS if label not in shown]
    chosen = _random(scene, "absent").sample(absent, ABSENT)
    return tuple(Concept(word, word) for word in (*scene.words, *chosen))


def noise_seed(scene: Scene) -> int:
    """Seed of the first noise a scene is looked at with; always the same for a scene."""
    return _random(scene, "noise").getrandbits(62)


def true_labels(scene: Scene) -> Tensor:
    """For every token the index into LABELS of the label that covers most of it, int64.

    Returns:
        (H / 16, W / 16), of a clip (F, H / 16, W / 16).
    """
    return torch.from_numpy(token_coverage(scene.labels)).argmax(dim=0)


def winners(shares: Tensor) -> Tensor:
    """For every token the position of the concept with the greatest share; -1 where several are level.

    Args:
        shares: (C, H, W), of a video (C, F, H, W), float.

    Returns:
        (H, W), of a video (F, H, W), int64.
    """
    best, position = shares.max(dim=0)
    tied = (shares == best).sum(dim=0) > 1
    return position.masked_fill(tied, NO_CLASS)


class _Tally:
    """What the scenes seen so far add up to."""

    def __init__(self) -> None:
        self._matrix = ConfusionMatrix(len(LABELS))
        self._precisions: list[float] = []
        self._moving: list[float] = []
        self._right: list[Tensor] = []  # per scene, the share of every frame's tokens that is right
        self._absent = self._tokens = 0

    def add(self, scene: Scene, recording: Recording, shares: Tensor) -> None:
        """Take in one scene with its shares, (C, H, W), of a clip (C, F, H, W)."""
        names = [concept.name for concept in recording.concepts]
        truth, won = true_labels(scene), winners(shares)
        label_of = torch.tensor([*(LABELS.index(name) for name in names), NO_CLASS])  # -1 finds the last
        self._matrix.update(label_of[won], truth)
        self._right.append((label_of[won] == truth).reshape(-1, *truth.shape[-2:]).float().mean((1, 2)))
        shown = len(names) - ABSENT
        self._absent += int((won >= shown).sum())
        self._tokens += won.numel()
        for share, label in zip(shares[:shown], label_of[:shown], strict=True):
            precision = average_precision(share, truth == label)
            if not math.isnan(precision):  # too small to cover most of any token
                self._precisions.append(precision)
        for name in scene.moving if isinstance(scene, Clip) else ():
            self._follow(label_of[won] == LABELS.index(name), truth == LABELS.index(name))

    def _follow(self, found: Tensor, truth: Tensor) -> None:
        """Take in where a moving thing was found, and where it was, (F, H, W) both."""
        both, either = (one.sum((1, 2)) for one in (found & truth, found | truth))
        self._moving += (both[either > 0] / either[either > 0]).tolist()

    def result(self, last: Recording) -> Evaluation:
        """The figures; the last scene's recording tells what is the same for all."""
        iou = self._matrix.class_iou()
        return Evaluation(
            pixel_accuracy=self._matrix.pixel_accuracy(),
            mean_iou=self._matrix.mean_iou(),
            average_precision=_mean(self._precisions),
            absent_rate=self._absent / self._tokens,
            frame_accuracy=tuple(torch.stack(self._right).mean(0).tolist()),
            moving_iou=_mean(self._moving),
            per_class_iou={LABELS[label]: value for label, value in iou.items()},
            scenes=len(self._right),
            layers=last.layers,
            mode=last.mode,
            width=last.image_size[1],
            height=last.image_size[0],
            frames=len(self._right[0]),
        )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else math.nan


def _random(scene: Scene, purpose: str) -> Random:
    """A generator of its own for every scene and purpose, independent of the one that drew the scene."""
    return Random(f"{purpose} {scene.seed}")  # noqa: S311 - reproducible, not secret
