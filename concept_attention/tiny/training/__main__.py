"""Train a landscape model: its latent space, its autoencoder, its transformer with the text encoders.

Run it again with the same --out to continue a run that was stopped. The result is a diffusers folder.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import numpy as np
import torch

from ...embedded import FLUX_FOLDER
from ...errors import UserError
from ..models.codec import CODEC, LinearCodec, fit_codec, read_codec, write_codec
from ..world.scenes import FIRST_UNSEEN_SEED, draw_scene
from .export import export, has_decoder, read_parts
from .families import FAMILIES
from .progress import show_progress
from .trainer import Trainer, train
from .vae import train_vae

# Seeds just below the unseen ones, which the transformer sees last.
CODEC_SCENES = 1024
CODEC_SEED = FIRST_UNSEEN_SEED - 100_000


def _draw_images(count: int, side: int = 256) -> np.ndarray:
    return np.stack([draw_scene(CODEC_SEED + index, side, side).image for index in range(count)])


def _codec(out: Path, source: Path | None) -> LinearCodec:
    """The run's latent space: its own if it has one, else that of the folder `source`, else a new one."""
    path = out / CODEC
    if path.exists():
        return read_codec(path)
    if source and not (source / CODEC).is_file():
        raise UserError(f"{source} has no {CODEC}. Name a folder that a training run exported, such as {FLUX_FOLDER}.")
    write_codec(read_codec(source / CODEC) if source else fit_codec(_draw_images(CODEC_SCENES)), path)
    return read_codec(path)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m concept_attention.tiny.training", description=__doc__)
    parser.add_argument("--model", choices=FAMILIES, default="flux", help="architecture (default flux)")
    parser.add_argument("--out", type=Path, default=Path("runs/landscape"), help="checkpoints and samples")
    parser.add_argument("--minutes", type=float, default=180, help="total training time of the transformer")
    parser.add_argument("--vae-minutes", type=float, default=30, help="total training time of the autoencoder")
    parser.add_argument("--part", choices=["all", "vae", "model", "export"], default="all")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--workers", type=int, default=max(1, (os.cpu_count() or 2) - 2), help="drawing processes")
    parser.add_argument("--tokens", type=int, help="image tokens per batch (default 5120, on a GPU 131072)")
    parser.add_argument("--scenes", type=int, help="images held in memory (default 80000, on a GPU 500000)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--start", type=Path, help="exported folder to continue, such as the shipped one")
    latents = "exported folder to take the latent space from, and the autoencoder if it fits"
    parser.add_argument("--latents", type=Path, help=latents)
    parser.add_argument("--export", type=Path, help="output folder of the finished model (default OUT/model)")
    return parser.parse_args()


def main() -> None:
    """Train as the command line says; an error that the user can fix is one line."""
    try:
        run(_arguments())
    except UserError as error:
        sys.exit(f"error: {error}")


def run(arguments: argparse.Namespace) -> None:
    """Train the parts that are asked for, and export the model."""
    device = torch.device(arguments.device)
    gpu = device.type == "cuda"
    arguments.out.mkdir(parents=True, exist_ok=True)
    family = FAMILIES[arguments.model]
    codec = _codec(arguments.out, arguments.latents or arguments.start)
    # Otherwise plain attention on a CPU computes in float32, for no gain here.
    torch.backends.cuda.allow_fp16_bf16_reduction_math_sdp(True)

    def report(trainer: Trainer, grid: int, line: str) -> None:
        accuracy = show_progress(trainer, codec, grid, arguments.out / "samples.png")
        line = line if accuracy is None else f"{line} map accuracy {accuracy:.4f}"
        print(line, flush=True)
        with open(arguments.out / "log.txt", "a", encoding="utf-8") as log:
            log.write(line + "\n")

    decoded = arguments.latents if arguments.latents and has_decoder(arguments.latents, family, codec) else None
    if arguments.part in ("all", "vae") and not decoded:
        images = _draw_images(2048 if gpu else CODEC_SCENES, family.stages[-1].sizes[0][0])
        minutes, batch = arguments.vae_minutes, 128 if gpu else 24
        train_vae(arguments.out, codec, images, minutes=minutes, device=device, batch=batch, family=family)
    if arguments.part in ("all", "model"):
        train(
            arguments.out,
            codec,
            minutes=arguments.minutes,
            device=device,
            workers=arguments.workers,
            tokens=arguments.tokens or (131_072 if gpu else 5120),
            scenes=arguments.scenes or (500_000 if gpu else 80_000),
            seed=arguments.seed,
            family=family,
            start=read_parts(arguments.start, family) if arguments.start else None,
            report=report,
        )
    if arguments.part in ("all", "export"):
        folder = arguments.export or arguments.out / "model"
        print(f"Wrote {export(arguments.out, folder, codec, arguments.start or decoded, family)}")


if __name__ == "__main__":
    main()
