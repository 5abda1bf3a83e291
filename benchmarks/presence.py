"""How well presence tells what is in an image, on drawn scenes whose truth is known, and what it saves while sampling.

Three tables. Absence: for every unseen scene all labels are asked for; a label's score is compared between the scenes
that show it and those that do not (area under the ROC curve). Calibration: presence of a token against the share of its
area that the label really covers. Overlap: two names of one thing, asked for together; each must cover it, which shares
cannot do. The last line is a run that ends early: how often the check in the middle of a run agrees with the finished
image, and how many steps it saves.
"""

from __future__ import annotations

import argparse
import math
from collections import defaultdict
from collections.abc import Sequence

import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from concept_attention import make_heatmaps
from concept_attention.concepts import Concept, parse_concepts
from concept_attention.embedded import EMBEDDED, WORDS
from concept_attention.heatmaps.presence import THRESHOLD, find_present, presence_scores
from concept_attention.hosts.diffusers import analyze, generate, load_pipeline
from concept_attention.hosts.diffusers.loading import defaults_for
from concept_attention.tiny.evaluation.agreement import true_labels
from concept_attention.tiny.evaluation.landscapes import noise_seed, unseen_seed
from concept_attention.tiny.world.clips import draw_landscape
from concept_attention.tiny.world.scenes import LABELS, Scene, token_coverage

from .landscape import PROMPTS

BINS = 10  # of the calibration
STEPS, AFTER = 20, 0.4  # of the runs that may end early


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", choices=EMBEDDED, default="tiny")
    parser.add_argument("--count", type=int, default=100, help="unseen scenes (default 100)")
    parser.add_argument("--runs", type=int, default=10, help="sampled images (default 10; 0: none)")
    parser.add_argument("--noise", type=float, default=0.3)
    arguments = parser.parse_args()

    pipeline = load_pipeline(arguments.model, device="cpu")
    pipeline.set_progress_bar_config(disable=True)
    defaults = defaults_for(pipeline)
    tally = Tally()
    for index in tqdm(range(arguments.count), desc="scenes"):
        scene = draw_landscape(unseen_seed(7, index), defaults.width, defaults.height, defaults.frames)
        images = [Image.fromarray(one) for one in scene.image.reshape(-1, defaults.height, defaults.width, 3)]
        recording = analyze(
            pipeline, images, asked(scene), noise=arguments.noise, seed=noise_seed(scene),
            width=defaults.width, height=defaults.height,
        )  # fmt: skip
        presence = make_heatmaps(recording, kind="presence")
        tally.add(scene, presence.per_frame().values[0], make_heatmaps(recording).per_frame().values[0])
    print(f"{arguments.model}, {arguments.count} scenes, noise {arguments.noise:g}")
    print(tally.report())
    if arguments.runs:
        print(early_ends(pipeline, arguments.runs))


def asked(scene: Scene) -> tuple[Concept, ...]:
    """All labels, and two more names for everything that the scene shows."""
    names = [*WORDS]
    for word in scene.words:
        names += [f"the {word}", *([phrase] if (phrase := scene.phrases[word]) != word else [])]
    return tuple(Concept(name, name) for name in names)


class Tally:
    """Running totals over scenes."""

    def __init__(self) -> None:
        self._scores: dict[str, tuple[list[float], list[float]]] = {word: ([], []) for word in WORDS}
        self._bins = torch.zeros(3, BINS, dtype=torch.float64)  # tokens, presence, truth
        self._overlap: dict[tuple[str, str, str], list[int]] = defaultdict(lambda: [0, 0])

    def add(self, scene: Scene, presence: Tensor, shares: Tensor) -> None:
        """Add one scene with the maps of `asked`, (C, H, W), of a clip (C, F, H, W)."""
        shown = {LABELS[index] for index in set(scene.labels.flat)}
        for word, score in zip(WORDS, presence_scores(presence[None])[0].tolist(), strict=False):
            if word in scene.words or word not in shown:  # what is too small to be named is neither
                self._scores[word][word not in scene.words].append(score)
        coverage = torch.from_numpy(token_coverage(scene.labels))
        place = (presence[: len(WORDS)].flatten() * BINS).long().clamp(max=BINS - 1)
        truth = torch.stack([coverage[LABELS.index(word)] for word in WORDS]).flatten()
        for row, values in enumerate((torch.ones_like(truth), presence[: len(WORDS)].flatten(), truth)):
            self._bins[row].index_add_(0, place, values.double())
        labels, names = true_labels(scene), [concept.name for concept in asked(scene)]
        for word in scene.words:
            there = labels == LABELS.index(word)
            for kind, name in (("label", word), ("the label", f"the {word}"), ("phrase", scene.phrases[word])):
                if kind == "phrase" and name == word:
                    continue
                position = names.index(name)
                for what, maps in (("presence", presence), ("share", shares)):
                    found = maps[position] >= THRESHOLD
                    both = self._overlap[what, kind, word]
                    both[0] += int((found & there).sum())
                    both[1] += int((found | there).sum())

    def report(self) -> str:
        """The three tables."""
        areas = {word: area(*self._scores[word]) for word in WORDS if all(self._scores[word])}
        present, absent = (sum((pair[side] for pair in self._scores.values()), []) for side in (0, 1))
        worst = min(areas, key=areas.__getitem__)
        tokens, means, truths = self._bins
        error = float(((means - truths).abs() / tokens.sum()).sum())
        found = sum(score >= THRESHOLD for score in present) / len(present)
        wrong = sum(score >= THRESHOLD for score in absent) / len(absent)
        lines = [
            f"absence AUROC: {area(present, absent):.4f} overall, least {areas[worst]:.4f} ({worst})",
            "  " + ", ".join(f"{word} {areas[word]:.3f}" for word in sorted(areas, key=areas.__getitem__)),
            f"at {THRESHOLD:g}: {found:.1%} of the present are found, {wrong:.1%} of the absent are taken for present",
            f"calibration error of a token: {error:.4f}",
            "asked for by two or three names at once   mean IoU (boat, tree)",
        ]
        for what in ("presence", "share"):
            for kind in ("label", "the label", "phrase"):
                by_word = {
                    word: both / either
                    for (one, of, word), (both, either) in self._overlap.items()
                    if (one, of) == (what, kind) and either
                }
                some = ", ".join(f"{by_word[word]:.2f}" if word in by_word else "-" for word in ("boat", "tree"))
                lines.append(f"  {what:<8}  {kind:<9}  {sum(by_word.values()) / len(by_word):.3f} ({some})")
        return "\n".join(lines)


def area(present: Sequence[float], absent: Sequence[float]) -> float:
    """Area under the ROC curve: how often a present one scores higher than an absent one; half for a tie.

    >>> area([0.9, 0.4], [0.4, 0.1])
    0.875
    """
    if not present or not absent:
        return math.nan
    there, gone = torch.tensor(present)[:, None], torch.tensor(absent)[None]
    return float(((there > gone).double() + (there == gone).double() / 2).mean())


def early_ends(pipeline: object, runs: int) -> str:
    """Runs that are checked after a part of their steps for what the prompt asks for and for one thing it does not."""
    right = total = saved = 0
    for number, (prompt, names) in enumerate(tqdm(PROMPTS[:runs], desc="runs")):
        shown = parse_concepts(names)
        other = next(word for word in reversed(WORDS) if word not in prompt)
        concepts = (*shown, Concept(other, other))
        result = generate(pipeline, prompt, concepts, seed=number, steps=STEPS)
        made = result.videos[0] if result.videos else result.images
        finished = find_present(analyze(pipeline, made, concepts, noise=0.3))
        step = math.ceil(AFTER * STEPS) - 1
        for checked, truth in zip(find_present(result.recording, steps=str(step)), finished, strict=True):
            right += checked.present == truth.present
            total += 1
            saved += 0 if checked.present[0] else STEPS - step - 1
    return (
        f"after {AFTER:.0%} of {STEPS} steps: {right / total:.1%} of {total} checks agree with the finished image; "
        f"runs that end where one concept is wanted and absent save {saved} of {total * STEPS} steps"
    )


if __name__ == "__main__":
    main()
