"""Train a landscape model: its latent space, its autoencoder, its transformer with the text encoders.

Run it again with the same --out to take up a run that was stopped; --export writes the finished model as the
diffusers folder that the library loads.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import numpy as np
import torch

from ..models.codec import CODEC, LinearCodec, fit_codec, read_codec, write_codec
from ..world.scenes import FIRST_UNSEEN_SEED, draw_scene
from .export import export, has_decoder, read_parts
from .families import KINDS
from .progress import show_progress
from .trainer import Trainer, train
from .vae import train_vae

# Seeds next below the unseen ones, so that these pictures are not the first the transformer sees again.
CODEC_SCENES = 1024
CODEC_SEED = FIRST_UNSEEN_SEED - 100_000


def _pictures(count: int, side: int = 256) -> np.ndarray:
    return np.stack([draw_scene(CODEC_SEED + index, side, side).image for index in range(count)])


def _codec(out: Path, taken: Path | None) -> LinearCodec:
    """The run's latent space: its own, that of the model it is taken from, or a new one."""
    path = out / CODEC
    if taken and not path.exists():
        write_codec(read_codec(taken / CODEC), path)
    elif not path.exists():
        write_codec(fit_codec(_pictures(CODEC_SCENES)), path)
    return read_codec(path)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m concept_attention.tiny.training", description=__doc__)
    parser.add_argument("--model", choices=KINDS, default="flux", help="architecture (default flux)")
    parser.add_argument("--out", type=Path, default=Path("runs/landscape"), help="checkpoints and samples")
    parser.add_argument("--minutes", type=float, default=180, help="of training the transformer, in all")
    parser.add_argument("--vae-minutes", type=float, default=30, help="of training the autoencoder, in all")
    parser.add_argument("--part", choices=["all", "vae", "model", "export"], default="all")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--workers", type=int, default=max(1, (os.cpu_count() or 2) - 2), help="drawing processes")
    parser.add_argument("--tokens", type=int, help="image tokens a batch (default 5120, on a GPU 131072)")
    parser.add_argument("--scenes", type=int, help="pictures held in memory (default 80000, on a GPU 500000)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--start", type=Path, help="go on from an exported folder, such as the shipped one")
    taken = "take the latent space of an exported folder, and its autoencoder where it fits"
    parser.add_argument("--latents", type=Path, help=taken)
    parser.add_argument("--export", type=Path, help="where the diffusers folder goes (default OUT/model)")
    return parser.parse_args()


def main() -> None:
    arguments = _arguments()
    device = torch.device(arguments.device)
    # Plain attention on a CPU would otherwise go by way of float32, for no gain here.
    torch.backends.cuda.allow_fp16_bf16_reduction_math_sdp(True)
    gpu = device.type == "cuda"
    arguments.out.mkdir(parents=True, exist_ok=True)
    kind = KINDS[arguments.model]
    taken = arguments.latents or arguments.start
    codec = _codec(arguments.out, taken)

    def report(trainer: Trainer, grid: int, line: str) -> None:
        accuracy = show_progress(trainer, codec, grid, arguments.out / "samples.png")
        line = f"{line} map accuracy {accuracy:.4f}"
        print(line, flush=True)
        with open(arguments.out / "log.txt", "a", encoding="utf-8") as log:
            log.write(line + "\n")

    decoded = arguments.latents if arguments.latents and has_decoder(arguments.latents, kind, codec) else None
    if arguments.part in ("all", "vae") and not decoded:
        images = _pictures(2048 if gpu else CODEC_SCENES, kind.stages[-1].sizes[0][0])
        minutes, batch = arguments.vae_minutes, 128 if gpu else 24
        train_vae(arguments.out, codec, images, minutes=minutes, device=device, batch=batch, kind=kind)
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
            kind=kind,
            start=read_parts(arguments.start, kind) if arguments.start else None,
            report=report,
        )
    if arguments.part in ("all", "export"):
        folder = arguments.export or arguments.out / "model"
        print(f"Wrote {export(arguments.out, folder, codec, arguments.start or decoded, kind)}")


if __name__ == "__main__":
    main()
