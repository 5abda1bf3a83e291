"""The training data: scenes drawn by worker processes during training, kept as latents on the device.

Every scene is kept as drawn and mirrored, with some variants of its prompt and of its list of concepts.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from ..models.codec import LinearCodec
from ..models.texts import TEXT_TOKENS, clip_row, concept_texts, t5_row, token_table, word_ids
from ..world.clips import draw_landscape
from ..world.scenes import FIRST_UNSEEN_SEED, LABELS, SKY, Scene, token_coverage

CONCEPTS = 8  # per scene: those it shows, the rest absent
VARIANTS = 4  # prompts and concept lists per scene
CHUNK = 32

COARSE = ((128, 128),)
# (width, height); most are square, so that a short training is not spread thin over many sizes.
FINE = ((256, 256),) * 6 + ((384, 256), (256, 384))

Draw = Callable[[int, int, int, int], Scene]
Prompt = Callable[[Scene, random.Random], str]

_TOKENS = token_table()
_TEXTS = concept_texts()
_TEXTS_OF = [[i for i, (_, label) in enumerate(_TEXTS) if label == index] for index in range(len(LABELS))]
_TEXT_INDEX = {text: index for index, (text, _) in enumerate(_TEXTS)}


@dataclass
class SceneTensors:
    """P scenes of one size. Per scene: two latents (as drawn, mirrored), coverage, and V prompts and concept lists.

    Clips have an axis of frames, F, before the latents' channels and before the coverage's rows.
    """

    latents: Tensor  # (P, 2, 16, h, w) float16
    coverage: Tensor  # (P, labels, h/2, w/2) uint8, share of the area x 255
    t5: Tensor  # (P, V, TEXT_TOKENS) int16
    clip: Tensor  # (P, V, TEXT_TOKENS) int16
    texts: Tensor  # (P, V, C) int16, indices into concept_texts()

    def tensors(self) -> tuple[Tensor, ...]:
        return self.latents, self.coverage, self.t5, self.clip, self.texts


def training_prompt(scene: Scene, rng: random.Random) -> str:
    """The prompt of a scene: mostly its caption, else its words (the sky with its time), or nothing."""
    chance = rng.random()
    if chance < 0.15:
        return ""
    if chance < 0.3:
        words = [scene.phrases[word] if word == SKY else word for word in scene.words]
        return ", ".join(rng.sample(words, len(words)))
    return scene.caption


def _concepts(scene: Scene, rng: random.Random) -> list[int]:
    """Text indices of the concepts of a scene: its words (sometimes without one of them) and absent ones."""
    present = list(scene.words)[:CONCEPTS]
    if len(present) > 2 and rng.random() < 0.2:
        present.pop(rng.randrange(len(present)))
    chosen = []
    for word in present:
        phrase = _TEXT_INDEX.get(scene.phrases[word])
        if phrase is not None and rng.random() < 0.4:
            chosen.append(phrase)
        else:
            chosen.append(_TEXT_INDEX[rng.choice((word, word, word, f"a {word}", f"the {word}"))])
    absent = [index for index, label in enumerate(LABELS) if label not in scene.words]
    for label in rng.sample(absent, CONCEPTS - len(chosen)):
        texts = _TEXTS_OF[label]
        chosen.append(texts[0] if rng.random() < 0.7 else rng.choice(texts))
    rng.shuffle(chosen)
    return chosen


def _lower_priority() -> None:
    """Give the training process precedence on a machine with few cores."""
    if hasattr(os, "nice"):
        os.nice(10)


def _draw(job: tuple[int, int, int, int, LinearCodec, Draw, Prompt]) -> tuple[np.ndarray, ...]:
    """Draw CHUNK scenes in a worker process; returns the fields of `SceneTensors` as arrays."""
    first, width, height, frames, codec, scene_of, prompt = job
    scenes = [scene_of(seed, width, height, frames) for seed in range(first, first + CHUNK)]
    both = np.stack([[codec.encode(image) for image in (s.image, s.image[..., ::-1, :])] for s in scenes])
    coverage = np.stack([token_coverage(scene.labels) for scene in scenes])
    t5, clip, texts = [], [], []
    for scene in scenes:
        rng = random.Random(scene.seed)  # noqa: S311 - reproducible, not secret
        prompts = [word_ids(prompt(scene, rng), _TOKENS) for _ in range(VARIANTS)]
        t5.append([t5_row(ids, TEXT_TOKENS) for ids in prompts])
        clip.append([clip_row(ids, TEXT_TOKENS) for ids in prompts])
        texts.append([_concepts(scene, rng) for _ in range(VARIANTS)])
    return (
        both.astype(np.float16),
        (coverage * 255).round().astype(np.uint8),
        *(np.array(rows, np.int16) for rows in (t5, clip, texts)),
    )


def _jobs(
    first_seed: int,
    sizes: tuple[tuple[int, int], ...],
    frames: int,
    codec: LinearCodec,
    scene_of: Draw = draw_landscape,
    prompt: Prompt = training_prompt,
) -> Iterator[tuple]:
    seed, turn = first_seed, 0
    while seed + CHUNK <= FIRST_UNSEEN_SEED:
        width, height = sizes[turn % len(sizes)]
        yield seed, width, height, frames, codec, scene_of, prompt
        seed, turn = seed + CHUNK, turn + 1


class Pool:
    """A growing set of scenes, drawn in the background, sampled with replacement.

    Args:
        codec: encodes images to latents.
        sizes: (width, height) of the scenes in pixels.
        first_seed: seed of the first scene.
        workers: number of drawing processes.
        limit: number of scenes after which drawing stops.
        device: where the scenes are kept.
        frames: of every scene; 1 is an image.
        scene_of: draws a scene, given its seed, width, height and frames. Like `prompt` it is of a module, so that
            other processes can draw with it.
        prompt: a prompt for a scene.
    """

    def __init__(
        self,
        codec: LinearCodec,
        sizes: tuple[tuple[int, int], ...],
        first_seed: int,
        workers: int,
        limit: int,
        device: torch.device,
        frames: int = 1,
        scene_of: Draw = draw_landscape,
        prompt: Prompt = training_prompt,
    ) -> None:
        self._limit, self._device = limit, device
        self._rows: dict[tuple[int, ...], SceneTensors] = {}
        self.size = 0
        self._waiting: dict[tuple[int, ...], list[tuple[Tensor, ...]]] = {}
        start = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
        self._processes = start.Pool(workers, _lower_priority)
        # The workers run ahead of `grow`, so no more jobs are given out than there is room for.
        jobs = islice(_jobs(first_seed, sizes, frames, codec, scene_of, prompt), -(-limit // CHUNK))
        self._drawn = self._processes.imap_unordered(_draw, jobs)
        self._generator = torch.Generator().manual_seed(first_seed)

    def close(self) -> None:
        """End the drawing processes."""
        self._processes.terminate()
        self._processes.join()

    def grow(self, wait: float = 0.001) -> None:
        """Add the scenes that have been drawn; wait up to `wait` seconds for the first of them."""
        while self.size < self._limit:
            try:
                arrays = self._drawn.next(wait)
            except (multiprocessing.TimeoutError, StopIteration):
                break
            tensors = tuple(torch.from_numpy(array).to(self._device) for array in arrays)
            self._waiting.setdefault(tuple(tensors[0].shape[-2:]), []).append(tensors)
            self.size += CHUNK
            wait = 0.0005
        for shape, chunks in list(self._waiting.items()):
            # Concatenated in large pieces, as every concatenation copies the whole pool.
            if shape in self._rows and len(chunks) * CHUNK * 8 < len(self._rows[shape].latents):
                continue
            if shape in self._rows:
                chunks = [self._rows[shape].tensors(), *chunks]
            self._rows[shape] = SceneTensors(*(torch.cat(parts) for parts in zip(*chunks, strict=True)))
            del self._waiting[shape]

    def sample(self, tokens: int) -> dict[str, Tensor]:
        """Draw a batch of one size with about `tokens` image tokens; sizes are as frequent as in the pool.

        Returns:
            latents (B, 16, h, w), of clips (B, F, 16, h, w), float32; coverage (B, labels, N) float32, 0-1; t5 and
            clip (B, TEXT_TOKENS) ids; texts (B, C) indices.
        """
        shapes = list(self._rows)
        weights = torch.tensor([float(len(self._rows[shape].latents)) for shape in shapes])
        pick = int(torch.multinomial(weights, 1, generator=self._generator))
        rows = self._rows[shapes[pick]]
        batch = max(1, tokens // rows.coverage[0, 0].numel())

        def draw(below: int) -> Tensor:
            return torch.randint(below, (batch,), generator=self._generator).to(self._device)

        scene, variant, mirrored = draw(len(rows.latents)), draw(VARIANTS), draw(2)
        coverage = rows.coverage[scene].float() / 255
        flipped = mirrored.bool().reshape(-1, *[1] * (coverage.ndim - 1))
        coverage = torch.where(flipped, coverage.flip(-1), coverage)
        return {
            "latents": rows.latents[scene, mirrored].float(),
            "coverage": coverage.flatten(2),
            "t5": rows.t5[scene, variant].long(),
            "clip": rows.clip[scene, variant].long(),
            "texts": rows.texts[scene, variant].long(),
        }
