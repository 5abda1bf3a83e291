"""What follows sampling: guided masks and Otsu's threshold against OpenCV's and scikit-image's own, on the CPU.

Run `python -m benchmarks.after_sampling`; see benchmarks/README.md for the claims. OpenCV, as
opencv-contrib-python-headless, and scikit-image are needed for this comparison only.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import torch
from torch import Tensor

from benchmarks.measure import peak_resident, ratios, rounds
from concept_attention.concepts import Concept
from concept_attention.heatmaps.guided import EPSILON, sharpen_heatmaps
from concept_attention.heatmaps.heatmaps import Heatmaps
from concept_attention.heatmaps.masks import otsu_level
from concept_attention.heatmaps.resize import resize_maps

SIDE, TOKENS, CONCEPTS, OTSU_SIDE = 1024, 64, 20, 4096
FRAMES, FRAME_SIZE, FRAME_TOKENS = 49, (480, 720), (30, 45)
RADIUS = 24  # one and a half tokens of 16 pixels
CLAIMS = {
    "one concept, 1024 px, against OpenCV's guided filter": 1.5,
    "the correction of thin parts against the filter alone": 1.5,
    "20 concepts against one, per concept": 1.1,
    "Otsu at 4096 px against scikit-image's": 2.0,
    "49 frames against one, per frame": 1.1,
    "peak memory of 20 concepts against the output": 3.0,
}


def picture(height: int, width: int, frames: int = 1) -> Tensor:
    """Soft colours with grain, (frames, height, width, 3)."""
    generator = torch.Generator().manual_seed(0)
    soft = resize_maps(torch.rand(frames, 3, 64, 64, generator=generator), (height, width))
    grain = 0.03 * torch.randn(frames, 3, height, width, generator=generator)
    return (soft + grain).clamp(0, 1).permute(0, 2, 3, 1).contiguous()


def heatmaps(concepts: int, grid: tuple[int, int], size: tuple[int, int], frames: int = 0) -> Heatmaps:
    shape = (1, concepts, frames, *grid) if frames else (1, concepts, *grid)
    values = torch.randn(shape, generator=torch.Generator().manual_seed(1)).mul(2).softmax(dim=1)
    names = tuple(Concept(f"c{number}", f"c{number}") for number in range(concepts))
    return Heatmaps(values, names, "share", size)


def measure(count: int, otsu_side: int = OTSU_SIDE, frames: int = FRAMES) -> dict[str, dict[str, float]]:
    """The ratio of every claim, with the least and the greatest of `count` rounds."""
    import cv2
    from skimage.filters import threshold_otsu

    guide, many = picture(SIDE, SIDE), heatmaps(CONCEPTS, (TOKENS, TOKENS), (SIDE, SIDE))
    one = resize_maps(many.values[0, 0], (SIDE, SIDE)).numpy()
    clip, maps = picture(*FRAME_SIZE, frames), heatmaps(2, FRAME_TOKENS, FRAME_SIZE, frames)
    still = heatmaps(2, FRAME_TOKENS, FRAME_SIZE)
    large = resize_maps(torch.rand(64, 64, generator=torch.Generator().manual_seed(2)) ** 3, (otsu_side, otsu_side))
    ways: dict[str, Callable[[], object]] = {
        "OpenCV": lambda: cv2.ximgproc.guidedFilter(guide[0].numpy(), one, RADIUS, EPSILON),
        "one": lambda: sharpen_heatmaps(many, guide, concepts="c0"),
        "alone": lambda: sharpen_heatmaps(many, guide, concepts="c0", rounds=0),
        "many": lambda: sharpen_heatmaps(many, guide),
        "scikit-image": lambda: threshold_otsu(large.numpy()),
        "Otsu": lambda: otsu_level(large),
        "clip": lambda: sharpen_heatmaps(maps, clip, concepts="c0"),
        "frame": lambda: sharpen_heatmaps(still, clip[:1], concepts="c0"),
    }
    seconds = rounds(ways, count, "cpu")
    pairs = [
        ("OpenCV", "one", 1),
        ("alone", "one", 1),
        ("one", "many", CONCEPTS),
        ("scikit-image", "Otsu", 1),
        ("frame", "clip", frames),
    ]
    found = [ratios(seconds[base], [one / per for one in seconds[way]]) for base, way, per in pairs]
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as fresh:
        memory = fresh.submit(memory_ratio).result()
    found.append({"median": memory, "least": memory, "most": memory})
    for name, values in seconds.items():
        print(f"{name:<14} {statistics.median(values):7.3f} s")
    return dict(zip(CLAIMS, found, strict=True))


def memory_ratio() -> float:
    """Growth of this process's peak memory while 20 concepts are refined, as a multiple of the result."""
    maps, guide = heatmaps(CONCEPTS, (TOKENS, TOKENS), (SIDE, SIDE)), picture(SIDE, SIDE)
    sharpen_heatmaps(heatmaps(1, (4, 4), (64, 64)), picture(64, 64))  # what torch loads once
    before = peak_resident()
    result = sharpen_heatmaps(maps, guide)
    return (peak_resident() - before) / result.values.nbytes


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=5, help="rounds (default 5)")
    parser.add_argument("--threads", type=int, default=2, help="threads of torch and OpenCV (default 2)")
    parser.add_argument("--check", action="store_true", help="exit with 1 if a bar is missed")
    arguments = parser.parse_args(argv)
    import cv2

    torch.set_num_threads(arguments.threads)
    cv2.setNumThreads(arguments.threads)
    missed = False
    for claim, found in measure(arguments.pairs).items():
        met = found["median"] <= CLAIMS[claim]
        missed |= not met
        spread = f"{found['least']:.2f} to {found['most']:.2f}"
        print(f"{'met' if met else 'MISSED'}: {claim}: {found['median']:.2f} ({spread}), bar {CLAIMS[claim]:g}")
    return int(arguments.check and missed)


if __name__ == "__main__":
    sys.exit(main())
