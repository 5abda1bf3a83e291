"""Training of the shipped autoencoder: its encoder is the linear codec, only the decoder is learned."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from tqdm import tqdm

from ..models.codec import LinearCodec
from . import checkpoint
from .family import Family
from .flux import FLUX

CROP = 64  # pixels; frames are decoded whole, as the decoder normalises over all of a frame
NOISE = 0.06  # on the decoder's latents, so that it tolerates the noise a sampler leaves
FOLDER = "vae"


def _edges(images: torch.Tensor) -> torch.Tensor:
    right = images[..., :, 1:] - images[..., :, :-1]
    down = images[..., 1:, :] - images[..., :-1, :]
    return torch.cat([right.flatten(1), down.flatten(1)], dim=1)


def train_vae(
    folder: Path,
    codec: LinearCodec,
    images: NDArray[np.uint8],
    *,
    minutes: float,
    device: torch.device,
    batch: int,
    seed: int = 0,
    family: Family = FLUX,
) -> Any:
    """Train an autoencoder to decode images from the codec's latents.

    Args:
        folder: the checkpoint goes to `folder/vae`; a run found there is continued.
        codec: the latent space.
        images: training images (P, H, W, 3), uint8.
        minutes: total training time, earlier runs in the same folder included.
        device: where to train.
        batch: crops of CROP x CROP pixels per step.
        seed: of weights and batches.
        family: the architecture that the autoencoder is for.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    vae = family.vae(codec).to(device)
    vae.encoder.requires_grad_(False)
    decoder = vae.decoder if family.clips else vae.decoder.to(memory_format=torch.channels_last)
    crop = images.shape[1] if family.clips else CROP
    batch = max(1, batch * CROP**2 // crop**2)
    average = {name: p.detach().clone() for name, p in decoder.named_parameters()}
    optimizer = torch.optim.AdamW(decoder.parameters(), lr=2e-3, betas=(0.9, 0.99), weight_decay=0.0)
    before, steps = 0.0, 0
    if found := checkpoint.load(folder / FOLDER, device):
        groups, progress = found
        decoder.load_state_dict(groups["weights"])
        average = groups["average"]
        checkpoint.restore_optimizer(optimizer, groups["adamw"])
        before, steps = progress["minutes"], progress["steps"]
    start = last = time.monotonic()

    def save(spent: float) -> None:
        groups = {"weights": dict(decoder.named_parameters()), "average": average}
        groups["adamw"] = checkpoint.optimizer_tensors(optimizer)
        checkpoint.save(folder / FOLDER, groups, {"minutes": spent, "steps": steps})

    with tqdm(total=round(minutes * 60), initial=round(before * 60), unit="s", desc="autoencoder") as bar:
        while (spent := before + (time.monotonic() - start) / 60) < minutes:
            done = spent / minutes
            optimizer.param_groups[0]["lr"] = 2e-3 * min(1, (steps + 1) / 100) * max(0.01, 1 - done)
            pixels = _crops(images, rng, batch, crop)
            target = torch.from_numpy(codec.encode(pixels)).to(device)
            image = torch.from_numpy(pixels).to(device).permute(0, 3, 1, 2).float() / 127.5 - 1
            with torch.autocast(device.type, torch.bfloat16):
                decoded = family.decode(vae, target + NOISE * torch.randn_like(target))
            decoded = decoded.float()
            loss = F.l1_loss(decoded, image) + F.mse_loss(decoded, image) + F.l1_loss(_edges(decoded), _edges(image))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(decoder.parameters(), 1.0)
            optimizer.step()
            steps += 1
            keep = min(0.999, (steps + 1) / (steps + 10))
            torch._foreach_lerp_(list(average.values()), [p.detach() for p in decoder.parameters()], 1 - keep)
            bar.update(round(spent * 60) - bar.n)
            if time.monotonic() - last > 60:
                last = time.monotonic()
                save(spent)
                bar.write(f"autoencoder step {steps} loss {loss.item():.4f}")
    save(minutes)
    decoder.load_state_dict(average)
    return vae.eval()


def _crops(images: NDArray[np.uint8], rng: np.random.Generator, batch: int, crop: int) -> NDArray[np.uint8]:
    """Random crops of `crop` x `crop` pixels, half of them mirrored."""
    pieces = []
    for index in rng.integers(len(images), size=batch):
        image = images[index]
        top, left = (int(rng.integers(side - crop + 1)) for side in image.shape[:2])
        piece = image[top : top + crop, left : left + crop]
        pieces.append(piece[:, ::-1] if rng.random() < 0.5 else piece)
    return np.stack(pieces)
