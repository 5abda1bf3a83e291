"""Training of a diffusion model and its text encoders: diffusion plus, mostly, a small supervised term on concept maps.

The concept tokens of the supervised term pass through the joint blocks exactly as in ConceptAttention, by the same
hooks that the library uses on any model of the family. The maps are taught. That makes the model a test instrument (a
wrong layer or a transposed grid lowers the accuracy), and no evidence that the method works on models not taught.
A family without `map_layers` has no such term.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from tqdm import tqdm

from ...hosts.collector import pad_bias
from ...hosts.diffusers.stream import ConceptStream
from ...scores import score_concepts
from ..models.codec import LinearCodec
from ..models.parts import Parts
from ..models.texts import TEXT_TOKENS, concept_texts, t5_row, token_table, word_ids
from . import checkpoint
from .family import Family, Stage, encode_t5
from .flux import FLUX
from .pool import Pool
from .process import Process

MAP_WEIGHT = 0.1
CONTINUED_SEED = 5_000_000  # first scene seed of a run that continues a finished model
DECAY_FROM = 0.45  # of the time; then the rates fall linearly
COARSE_PIXELS = 16 * 16  # latent pixels of an image on the coarse grid
# Natural logarithm of the ratio of noise to latents: mean and standard deviation. On the fine grid the layout is
# decided between sigma 0.99 and 0.85 (there the unexplained share of the coarsest components falls from 0.7 to 0.15):
# half of the images are that noisy.
COARSE_SIGMAS = (0.3, 1.0)
FINE_SIGMAS = (1.7, 1.4)
CLIP_SIGMAS = (1.5, 1.7)
REPORT_SECONDS = 300
LONG_TEXTS_FROM = 0.75  # of the time; then some texts are padded further


class Trainer:
    """Model, optimizers and moving average of one run, and one training step."""

    def __init__(self, device: torch.device, seed: int = 0, family: Family = FLUX) -> None:
        torch.manual_seed(seed)
        self.device = device
        self.family = family
        self.parts = family.build()
        for module in self.parts.modules().values():
            module.to(device).train()
        torch.nn.init.zeros_(family.output(self.parts).weight)
        self.parameters = self.parts.parameters()
        matrices = [p for n, p in self.parameters.items() if p.ndim == 2 and "transformer_blocks" in n]
        chosen = set(map(id, matrices))
        rest = [p for p in self.parameters.values() if id(p) not in chosen]
        self.optimizers = {
            "muon": torch.optim.Muon(matrices, lr=0.01, weight_decay=0.01, momentum=0.95, adjust_lr_fn="original"),
            "adamw": torch.optim.AdamW(rest, lr=2e-3, weight_decay=0.01, betas=(0.9, 0.98)),
        }
        self.rates = {name: optimizer.param_groups[0]["lr"] for name, optimizer in self.optimizers.items()}
        self.average = {name: p.detach().clone() for name, p in self.parameters.items()}
        self.step_count = 0
        self._random = random.Random(seed)  # noqa: S311 - reproducible, not secret
        self._generator = torch.Generator(device=device).manual_seed(seed)
        self._table = self._concept_rows()
        self._labels = torch.tensor([label for _, label in concept_texts()], device=device)

    def _concept_rows(self) -> tuple[Tensor, Tensor]:
        """Ids (U, TEXT_TOKENS) of every concept text and its word count (U,)."""
        table = token_table()
        ids = [word_ids(text, table) for text, _ in concept_texts()]
        rows = torch.tensor([t5_row(row, TEXT_TOKENS) for row in ids], device=self.device)
        return rows, torch.tensor([len(row) for row in ids], device=self.device)

    def _concept_embeddings(self, texts: Tensor, length: int) -> Tensor:
        """(B, C) text indices to (B, C, E): first, mean or last word of the text encoded alone."""
        used, index = texts.unique(return_inverse=True)
        rows, counts = (column[used] for column in self._table)
        hidden = encode_t5(self.parts, _padded(rows, length))
        inside = (torch.arange(length, device=self.device) < counts[:, None]).unsqueeze(-1)
        mean = (hidden * inside).sum(1) / counts[:, None]
        last = hidden[torch.arange(len(rows), device=self.device), counts - 1]
        pooled = torch.stack([hidden[:, 0], mean.to(hidden), last])
        choice = torch.randint(3, texts.shape, generator=self._generator, device=self.device)
        return pooled[choice, index]

    def losses(self, batch: dict[str, Tensor], length: int) -> tuple[Tensor, Tensor]:
        """Diffusion loss and map loss of one batch with texts padded to `length` tokens, both scalars."""
        latents = batch["latents"]
        noise = torch.randn(latents.shape, generator=self._generator, device=self.device)
        sigma = draw_sigmas(latents.shape, self.family.process, self._generator)
        level = sigma.reshape(-1, *[1] * (latents.ndim - 1))
        chance = torch.rand(len(latents), 1, generator=self._generator, device=self.device)
        outputs: dict[int, tuple[Tensor, Tensor]] = {}
        with (
            torch.autocast(self.device.type, torch.bfloat16),
            _attention(self.device),
            self._concepts(batch["texts"], length, outputs),
        ):
            noisy, prompt = self.family.process.mix(latents, noise, level), _padded(batch["t5"], length)
            predicted = self.family.velocity(self.parts, noisy, sigma, prompt, batch["clip"], chance)
        diffusion = (predicted.float() - self.family.process.target(latents, noise, level)).pow(2).mean()
        return diffusion, self._map_loss(batch, outputs) if outputs else torch.zeros_like(diffusion)

    def _concepts(
        self, texts: Tensor, length: int, outputs: dict[int, tuple[Tensor, Tensor]]
    ) -> AbstractContextManager[object]:
        """Lets the concepts ride along and puts what the taught layers give into `outputs`, if any are taught."""
        if not self.family.map_layers:
            return nullcontext()

        def on_outputs(layer: int, image_out: Tensor, concept_out: Tensor) -> None:
            if layer in self.family.map_layers:
                outputs[layer] = (image_out, concept_out)

        concepts, pads = self._concept_embeddings(texts, length), self._pads(texts)
        if pads:
            concepts = torch.cat([concepts, torch.zeros_like(concepts[:, :1])], dim=1)
        last = max(self.family.map_layers)
        return ConceptStream(self.parts.transformer, concepts, on_outputs, last, pad_count=pads)

    def _pads(self, texts: Tensor) -> int:
        """How many pad tokens ride along with the concepts (B, C)."""
        return max(0, self.family.mode.padded_tokens - texts.shape[1])

    def _map_loss(self, batch: dict[str, Tensor], outputs: dict[int, tuple[Tensor, Tensor]]) -> Tensor:
        """Cross-entropy against the share of each token's area that each concept covers; uncovered area is left out."""
        chosen, pads = self._labels[batch["texts"]], self._pads(batch["texts"])
        target = batch["coverage"].gather(1, chosen[..., None].expand(-1, -1, batch["coverage"].shape[-1]))
        maps = [-(target * self._log_shares(*vectors, pads)).sum() / target.sum() for vectors in outputs.values()]
        return torch.stack(maps).mean()

    def _log_shares(self, image_out: Tensor, concept_out: Tensor, pads: int) -> Tensor:
        """Logarithm of the concepts' shares, (B, C, N); the last of C + 1 vectors stands for `pads` pad tokens."""
        scores = score_concepts(image_out, concept_out, self.family.mode.vectors)
        if not pads:
            return scores.log_softmax(1)
        return (scores + pad_bias(scores.shape[1], pads).to(scores)[:, None]).log_softmax(1)[:, :-1]

    def step(self, batch: dict[str, Tensor], done: float) -> tuple[Tensor, Tensor]:
        """One update, after `done` (0-1) of the training time."""
        rate = rate_at(done, self.step_count)
        length = self._random.choice(self.family.lengths) if done > LONG_TEXTS_FROM else TEXT_TOKENS
        diffusion, maps = self.losses(batch, length)
        for name, optimizer in self.optimizers.items():
            optimizer.zero_grad(set_to_none=True)
            optimizer.param_groups[0]["lr"] = self.rates[name] * rate
        (diffusion + MAP_WEIGHT * maps).backward()
        torch.nn.utils.clip_grad_norm_(self.parameters.values(), 1.0)
        for optimizer in self.optimizers.values():
            optimizer.step()
        self.step_count += 1
        keep = min(0.999, (self.step_count + 1) / (self.step_count + 10))
        current = [parameter.detach() for parameter in self.parameters.values()]
        torch._foreach_lerp_(list(self.average.values()), current, 1 - keep)
        return diffusion.detach(), maps.detach()

    def save(self, folder: Path, minutes: float, next_seed: int) -> None:
        """Write a checkpoint with the minutes trained and the next scene seed."""
        groups = {name: checkpoint.optimizer_tensors(optimizer) for name, optimizer in self.optimizers.items()}
        groups["weights"] = {name: p.detach() for name, p in self.parameters.items()}
        groups["average"] = self.average
        progress = {"minutes": minutes, "steps": self.step_count, "next_seed": next_seed}
        checkpoint.save(folder, groups, progress)

    def restore(self, folder: Path) -> tuple[float, int]:
        """Load the checkpoint in `folder`, if there is one; returns the minutes trained and the next scene seed."""
        found = checkpoint.load(folder, self.device)
        if found is None:
            return 0.0, 0
        groups, progress = found
        self.parts.fill(groups["weights"])
        self.average = {name: groups["average"][name] for name in self.parameters}  # in the parameters' order
        for name, optimizer in self.optimizers.items():
            checkpoint.restore_optimizer(optimizer, groups[name])
        self.step_count = progress["steps"]
        return progress["minutes"], progress["next_seed"]

    def start_from(self, parts: Parts) -> None:
        """Begin with the weights of a finished model instead of new ones."""
        tensors = {name: p.detach().to(self.device, torch.float32) for name, p in parts.parameters().items()}
        self.parts.fill(tensors)
        self.average = {name: tensors[name].clone() for name in self.parameters}

    def averaged(self) -> Parts:
        """A copy of the model with the moving average's weights, in eval mode."""
        parts = self.family.build()
        parts.fill(self.average)
        for module in parts.modules().values():
            module.to(self.device).eval()
        return parts


def _padded(ids: Tensor, length: int) -> Tensor:
    """Pad T5's ids (B, T) to `length`."""
    return torch.nn.functional.pad(ids, (0, length - ids.shape[1]))


def draw_sigmas(shape: torch.Size, process: Process, generator: torch.Generator) -> Tensor:
    """Noise levels (B,), 0-1, for latents (B, 16, h, w) or, of clips, (B, F, 16, h, w)."""
    if len(shape) == 5:
        mean, std = CLIP_SIGMAS
    else:
        mean, std = COARSE_SIGMAS if shape[-2] * shape[-1] <= COARSE_PIXELS else FINE_SIGMAS
    return process.level(torch.randn(shape[0], generator=generator, device=generator.device) * std + mean)


def _attention(device: torch.device) -> AbstractContextManager[None]:
    """Attention by plain matrix products on a CPU, where the fused kernel takes three times as long."""
    return sdpa_kernel(SDPBackend.MATH) if device.type == "cpu" else nullcontext()


def rate_at(done: float, steps: int) -> float:
    """Share of the full learning rate after `done` (0-1) of the time: warm-up, constant, linear fall."""
    fall = 1.0 if done < DECAY_FROM else max(0.02, 1 - (done - DECAY_FROM) / (1 - DECAY_FROM))
    return min(1.0, (steps + 1) / 100) * fall


def _open_pool(
    codec: LinearCodec, family: Family, stage: Stage, first_seed: int, workers: int, scenes: int, device: torch.device
) -> Pool:
    """A pool for a stage, once enough scenes to begin with are drawn."""
    limit = max(1, scenes // stage.frames)
    pool = Pool(codec, stage.sizes, first_seed, workers, limit, device, stage.frames, family.scene, family.prompt)
    while pool.size < min(512, limit):
        pool.grow(wait=60)
    return pool


def train(
    folder: Path,
    codec: LinearCodec,
    *,
    minutes: float,
    device: torch.device,
    workers: int,
    tokens: int,
    scenes: int,
    seed: int = 0,
    family: Family = FLUX,
    start: Parts | None = None,
    report: Callable[[Trainer, int, str], None] | None = None,
) -> Trainer:
    """Train until `minutes` of training are done, counting those of earlier runs in the same folder.

    Args:
        folder: for checkpoints; a run found there is continued.
        codec: the latent space.
        minutes: total training time; the learning rates follow it.
        device: where to train.
        workers: processes that draw scenes.
        tokens: image tokens per batch.
        scenes: images to hold at most in each stage; every frame of a clip counts.
        seed: of weights, batches and noise.
        family: the architecture.
        start: a finished model to continue in the last stage only; a checkpoint in `folder` takes precedence.
        report: called at every checkpoint with the trainer, the side of the token grid and a line of figures.
    """
    trainer = Trainer(device, seed, family)
    before, next_seed = trainer.restore(folder)
    if start and not before:
        trainer.start_from(start)
        next_seed = CONTINUED_SEED
    began = last = time.monotonic()
    pool, stage = None, None
    figures: list[tuple[Tensor, Tensor]] = []
    with tqdm(total=round(minutes * 60), initial=round(before * 60), unit="s", desc="training") as bar:
        while (spent := before + (time.monotonic() - began) / 60) < minutes:
            current = family.stage(spent / minutes, continued=start is not None)
            if pool is None or stage != current:
                if pool is not None:
                    next_seed += pool.size
                    pool.close()
                stage, pool = current, _open_pool(codec, family, current, next_seed, workers, scenes, device)
            pool.grow()
            figures.append(trainer.step(pool.sample(tokens), spent / minutes))
            bar.update(round(spent * 60) - bar.n)
            if time.monotonic() - last > REPORT_SECONDS and report is not None:
                last = time.monotonic()
                diffusion, maps = (torch.stack(column).mean().item() for column in zip(*figures, strict=True))
                figures.clear()
                trainer.save(folder, spent, next_seed + pool.size)
                line = f"step {trainer.step_count} loss {diffusion:.4f} maps {maps:.4f} scenes {pool.size}"
                report(trainer, stage.sizes[0][0] // 16, line)
    if pool is not None:
        next_seed += pool.size
        pool.close()
    trainer.save(folder, minutes, next_seed)
    return trainer
