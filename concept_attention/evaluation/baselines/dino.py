"""DINO's own attention: where the class token of its last block looks, whatever the concepts are."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...errors import UserError
from ..question import Question

SHORT_SIDE = 480
_MEAN, _SPREAD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Dino:
    """The baseline.

    Args:
        model: a `ViTModel` of transformers with attention outputs (`attn_implementation="eager"`).

    Source: Caron et al., Emerging Properties in Self-Supervised Vision Transformers, ICCV 2021; the paper's baseline is
    ViT-S/8 (`facebook/dino-vits8`) at 480 pixels, mean of the heads.
    """

    def __init__(self, model: Any) -> None:
        self._model = model.eval()

    @classmethod
    def load(cls, name: str, device: str) -> Dino:
        """From a folder of weights, or from the hub's cache; nothing is downloaded."""
        try:
            model = import_module("transformers").ViTModel.from_pretrained(
                name, attn_implementation="eager", local_files_only=True
            )
        except OSError as error:
            raise UserError(f"No weights of {name} here. Get them with `hf download {name}`.") from error
        return cls(model.to(device))

    @torch.no_grad()
    def __call__(self, question: Question) -> Tensor:
        """The map for each class, and what is left of its greatest value for all others, (C, rows, columns)."""
        patch, image = self._model.config.patch_size, question.image
        scale = SHORT_SIDE / min(image.size)
        width, height = (max(1, round(length * scale) // patch) * patch for length in image.size)
        resized = image.resize([round(length * scale) for length in image.size]).crop((0, 0, width, height))
        pixels = (np.asarray(resized, dtype=np.float32) / 255 - _MEAN) / _SPREAD
        batch = torch.from_numpy(pixels).float().permute(2, 0, 1)[None].to(self._model.device)
        found = self._model(batch, output_attentions=True, interpolate_pos_encoding=True)
        looks = found.attentions[-1][0, :, 0, 1:].mean(dim=0).float().cpu()
        looks = looks.reshape(height // patch, width // patch) / looks.max()
        return torch.stack([looks if label is not None else 1 - looks for label in question.labels])
