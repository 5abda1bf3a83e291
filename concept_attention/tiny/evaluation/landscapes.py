"""How well a model's concept maps agree with the truth, on drawn scenes that no training step saw."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Any, Literal

from PIL import Image

from ...choices import Pooling
from ...concepts import Concept
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
    tally = Tally()
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


def _random(scene: Scene, purpose: str) -> Random:
    """A generator of its own for every scene and purpose, independent of the one that drew the scene."""
    return Random(f"{purpose} {scene.seed}")  # noqa: S311 - reproducible, not secret
