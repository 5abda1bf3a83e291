"""Evaluation of a model's concept maps on drawn scenes that no training step saw."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Any, Literal, get_args

from PIL import Image

from ...choices import Pooling, check_choice
from ...concepts import Concept
from ...errors import UserError
from ...heatmaps.heatmaps import make_heatmaps
from ...hosts.diffusers.analysis import analyze
from ...hosts.diffusers.loading import defaults_for
from ...recording.recording import Recording
from ..world.clips import draw_landscape
from ..world.scenes import FIRST_UNSEEN_SEED, LABELS, Scene
from .agreement import ABSENT, Evaluation, Tally

MOST_SCENES = 100_000

Prompt = Literal["none", "caption"]


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
    the label that covers most of it. A token goes to the concept with the greatest share; a tie goes to none. A video
    model is shown clips in which things move.

    Args:
        pipeline: see `load_pipeline`.
        count: scenes, 1 to 100,000.
        seed: any whole number; chooses the scenes, all from seeds that training never draws.
        noise, samples, layers, mode, pooling: see `analyze`.
        prompt: no prompt, or the scene's caption.
        temperature: see `make_heatmaps`.
        width, height: pixels of the scenes, multiples of 16; None is the model's own size.
        frames: of the clips, a number that the model's VAE makes; None is the model's own number.
        on_scene: called after each scene with (scenes done, total scenes).

    Raises:
        UserError: if `count` or `prompt` is not allowed; see also `draw_scene`, `analyze` and `make_heatmaps`.
    """
    check_choice("prompt", prompt, get_args(Prompt))
    defaults = defaults_for(pipeline)
    width, height = width or defaults.width, height or defaults.height
    frames = frames or defaults.frames

    def record(scene: Scene) -> Recording:
        shown = scene.caption if prompt == "caption" else ""
        options: dict[str, Any] = {"noise": noise, "samples": samples, "layers": layers, "mode": mode}
        return record_scene(pipeline, scene, prompt=shown, pooling=pooling, **options)

    return score_landscapes(record, count, seed, width, height, frames, temperature=temperature, on_scene=on_scene)


def record_scene(pipeline: Any, scene: Scene, **options: Any) -> Recording:
    """The recording of a drawn scene with its `scene_concepts`, in its own size; `options` are those of `analyze`."""
    height, width, _ = scene.image.shape[-3:]
    images = [Image.fromarray(one) for one in scene.image.reshape(-1, height, width, 3)]
    seed = noise_seed(scene)
    return analyze(pipeline, images, scene_concepts(scene), width=width, height=height, seed=seed, **options)


def score_landscapes(
    record: Callable[[Scene], Recording],
    count: int,
    seed: int,
    width: int,
    height: int,
    frames: int = 1,
    *,
    temperature: float | None = None,
    on_scene: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Compare the recordings that a host makes of `count` drawn scenes with the truth; see `evaluate_landscapes`.

    Args:
        record: records a scene's image with its `scene_concepts`, in their order.
        count, seed, width, height, frames, temperature, on_scene: see `evaluate_landscapes`.

    Raises:
        UserError: if `count` is not allowed; see also `draw_scene` and `make_heatmaps`.
    """
    if not 1 <= count <= MOST_SCENES:
        raise UserError(f"The number of scenes must be from 1 to {MOST_SCENES}, got {count}.")
    tally = Tally()
    for index in range(count):
        scene = draw_landscape(unseen_seed(seed, index), width, height, frames)
        recording = record(scene)
        heatmaps = make_heatmaps(recording, "all", temperature=temperature).per_frame()
        tally.add(scene, recording, heatmaps.values[0])
        if on_scene is not None:
            on_scene(index + 1, count)
    return tally.result(recording)


def unseen_seed(seed: int, index: int) -> int:
    """Scene seed of the `index`-th scene that `seed` chooses: never used in training, and never twice.

    Args:
        seed: any whole number.
        index: 0 to 99,999.
    """
    natural = 2 * seed if seed >= 0 else -2 * seed - 1
    return FIRST_UNSEEN_SEED + natural * MOST_SCENES + index


def scene_concepts(scene: Scene) -> tuple[Concept, ...]:
    """The scene's own words, then two labels that it does not show at all; always the same for a scene."""
    shown = {LABELS[index] for index in set(scene.labels.flat)}
    absent = [label for label in LABELS if label not in shown]
    chosen = _random(scene, "absent").sample(absent, ABSENT)
    return tuple(Concept(word, word) for word in (*scene.words, *chosen))


def noise_seed(scene: Scene) -> int:
    """Seed of a scene's first noise sample; always the same for a scene."""
    return _random(scene, "noise").getrandbits(62)


def _random(scene: Scene, purpose: str) -> Random:
    """A generator for one scene and purpose, independent of the one that drew the scene."""
    return Random(f"{purpose} {scene.seed}")  # noqa: S311 - reproducible, not secret
