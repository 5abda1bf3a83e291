"""The tests' tiny architectures with as many tokens as real images, and the ways of sampling with them.

Import this module after ComfyUI's library.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import comfy.utils
import nodes
import torch
from torch import Tensor

from concept_attention.concepts import Concept
from concept_attention.hosts.comfyui.engine.settings import Settings
from concept_attention.hosts.comfyui.sampling import sample
from concept_attention.hosts.encoded import EncodedConcepts
from tests.support.comfyui.architectures.matrix import rows
from tests.support.comfyui.architectures.tiny_architecture import TinyArchitecture
from tests.support.comfyui.cross_attention.tiny_cross import TinyCross

SEED, CFG, SAMPLER, SCHEDULER = 0, 1.0, "euler", "simple"
# Configuration entries that grow with the image side (tables of positions), and with which power of it.
GROWING = {"pos_embed_max_size": 1, "num_patches": 2, "sample_width": 1, "sample_height": 1}


def rows_named(part: str) -> list[TinyArchitecture | TinyCross]:
    """Architectures that this ComfyUI has and whose name contains `part`."""
    return [row for row in rows() if row.in_host and part.lower() in row.name.lower()]


class LargeRow:
    """A row's MODEL for a large image, and one method per way of sampling with it.

    Attributes:
        tokens: of the image or video; its sides are multiples of the row's, as close to the wanted number as they come.
        kept: bytes of the last recording.
        differing: greatest number of values in which any run's latent differs from the first run's.
    """

    def __init__(self, row: TinyArchitecture | TinyCross, tokens: int, text: int, concepts: int, steps: int) -> None:
        comfy.utils.set_progress_bar_enabled(False)
        times = max(1, round(math.sqrt(tokens / math.prod(row.grid))))
        grown = {name: row.config[name] * times**power for name, power in GROWING.items() if name in row.config}
        self._model = dataclasses.replace(row, config={**row.config, **grown}).make(SEED)
        *shape, height, width = row.latent
        grown_latent = (*shape, height * times, width * times)
        latent = {"samples": dataclasses.replace(row, latent=grown_latent).empty()}
        prompt = row.cond(tokens=text)
        self._arguments = (SEED, steps, CFG, SAMPLER, SCHEDULER, prompt, prompt, latent)
        embeddings = torch.randn(concepts, row.text_width, generator=torch.Generator().manual_seed(SEED))
        named = tuple(Concept(f"concept {index}", f"concept {index}") for index in range(concepts))
        encoded = EncodedConcepts(named, embeddings, (1,) * concepts, "first")
        self._settings = Settings(encoded, layers="all")
        self._latent: Tensor | None = None
        self.tokens = math.prod(row.grid) * times**2
        self.kept = self.differing = 0

    @torch.inference_mode()  # as ComfyUI runs its nodes
    def plain(self) -> None:
        """KSampler alone."""
        (latent,) = nodes.common_ksampler(self._model, *self._arguments)
        self._compare(latent)

    @torch.inference_mode()
    def ours(self) -> None:
        """KSampler with the library's recording of all layers."""
        latent, recording = sample(self._model, self._settings, *self._arguments)
        self._compare(latent)
        assert recording.scores.shape[-1] == self.tokens
        self.kept = recording.nbytes

    def _compare(self, latent: dict[str, Any]) -> None:
        found = latent["samples"]
        found = torch.cat([part.flatten() for part in found.unbind()]) if found.is_nested else found
        if self._latent is None:
            self._latent = found
        self.differing = max(self.differing, int((found != self._latent).sum()))
