"""A random Flux of any size, its inputs, and the ways of evaluating it that are compared."""

from __future__ import annotations

import contextlib
import math
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch
from diffusers import FluxTransformer2DModel
from torch import Tensor

from concept_attention.concepts import Concept
from concept_attention.hosts.diffusers.recorder import Recorder
from concept_attention.hosts.diffusers.run_hooks import StopForward
from concept_attention.hosts.diffusers.transformers import flux
from concept_attention.hosts.encoded import EncodedConcepts
from concept_attention.recording.recording import Recording

from .authors_way import AuthorsWay

HEAD_DIM, TEXT_WIDTH, POOLED_WIDTH, LATENT_WIDTH = 128, 4096, 768, 64  # Flux 1's own


@dataclass(frozen=True)
class Settings:
    """Sizes of the model and of the image.

    Attributes:
        width: of the tokens inside the model, a multiple of 128, the width of one head.
        blocks: joint blocks.
        singles: single blocks.
        tokens: image tokens.
        text: prompt tokens.
        concepts: concept tokens.
        device: such as `cpu` or `cuda`.
        dtype: name of a floating torch dtype.
    """

    width: int
    blocks: int
    singles: int
    tokens: int
    text: int
    concepts: int
    device: str
    dtype: str

    def __post_init__(self) -> None:
        if self.width < HEAD_DIM or self.width % HEAD_DIM:
            raise ValueError(f"Width must be a positive multiple of {HEAD_DIM}, got {self.width}.")
        for name in ("blocks", "tokens", "text", "concepts"):
            if getattr(self, name) < 1:
                raise ValueError(f"There must be at least one of {name}, got {getattr(self, name)}.")

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of tokens, as square as their number allows."""
        rows = next(rows for rows in range(math.isqrt(self.tokens), 0, -1) if self.tokens % rows == 0)
        return rows, self.tokens // rows


class RandomFlux:
    """The model and one method per way of evaluating it."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        torch.manual_seed(0)
        with torch.device(settings.device):
            self.transformer = self._make_transformer().eval()
            self.inputs = self._make_inputs()
            embeddings = self._random(settings.concepts, TEXT_WIDTH)
        concepts = tuple(Concept(f"concept {index}", f"concept {index}") for index in range(settings.concepts))
        self._encoded = EncodedConcepts(concepts, embeddings, (1,) * len(concepts), "first")

    def plain(self) -> None:
        """The model alone."""
        self.transformer(**self.inputs)

    def ours(self, layers: str = "all", stop: bool = False) -> Recording:
        """With the library's concept attention; `stop` ends the evaluation after the last kept layer."""
        pipeline = SimpleNamespace(transformer=self.transformer)
        recorder = Recorder(pipeline, self._encoded, layers, "flux", self.settings.tokens)
        with recorder.watching(stop), contextlib.suppress(StopForward):
            self.transformer(**self.inputs)
        recorder.commit(0, 0.5)
        rows, columns = self.settings.grid
        return recorder.build((1, rows, columns), (16 * rows, 16 * columns), {})

    def authors(self) -> AuthorsWay:
        """With the authors' implementation."""
        with AuthorsWay(self.transformer, self._encoded.embeddings) as vectors:
            self.transformer(**self.inputs)
        return vectors

    def joint_blocks_alone(self, count: int) -> None:
        """The embedders and the first `count` joint blocks, without concepts."""

        def stop(module: Any, args: Any, output: Any) -> None:
            raise StopForward

        handle = self.transformer.transformer_blocks[count - 1].register_forward_hook(stop)
        with contextlib.suppress(StopForward):
            self.transformer(**self.inputs)
        handle.remove()

    def _make_transformer(self) -> Any:
        settings = self.settings
        transformer = FluxTransformer2DModel(
            in_channels=LATENT_WIDTH,
            num_layers=settings.blocks,
            num_single_layers=settings.singles,
            attention_head_dim=HEAD_DIM,
            num_attention_heads=settings.width // HEAD_DIM,
            joint_attention_dim=TEXT_WIDTH,
            pooled_projection_dim=POOLED_WIDTH,
        )
        # Not the model's own `to`, which warns of layers kept in float32; Flux has none.
        return torch.nn.Module.to(transformer, getattr(torch, settings.dtype))

    def _make_inputs(self) -> dict[str, Any]:
        settings = self.settings
        device = torch.device(settings.device)
        return {
            "hidden_states": self._random(1, settings.tokens, LATENT_WIDTH),
            "encoder_hidden_states": self._random(1, settings.text, TEXT_WIDTH),
            "pooled_projections": self._random(1, POOLED_WIDTH),
            "timestep": torch.full((1,), 0.5, dtype=getattr(torch, settings.dtype)),
            "img_ids": flux.position_ids(*settings.grid, device),
            "txt_ids": torch.zeros(settings.text, 3),
            "return_dict": False,
        }

    def _random(self, *shape: int) -> Tensor:
        return torch.randn(*shape, dtype=getattr(torch, self.settings.dtype))
