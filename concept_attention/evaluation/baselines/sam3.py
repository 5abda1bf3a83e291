"""SAM 3: the masks that a model made for it finds by the same words. The upper line, not a competitor."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ...errors import UserError
from ..question import Question

_LENGTH = 32  # tokens of a text, padded


class Sam3:
    """The baseline.

    Args:
        model: a `Sam3Model` of transformers.
        tokenizer: of its text encoder.

    Source: Carion et al., SAM 3: Segment Anything with Concepts, 2025 (`facebook/sam3`). Its score of an instance is
    that of the query times that of the word being there at all.
    """

    def __init__(self, model: Any, tokenizer: Any) -> None:
        self._model, self._tokenizer = model.eval(), tokenizer

    @classmethod
    def load(cls, name: str, device: str) -> Sam3:
        """From a folder of weights, or from the hub's cache; nothing is downloaded."""
        transformers: Any = import_module("transformers")
        try:
            model = transformers.Sam3Model.from_pretrained(name, local_files_only=True)
            tokenizer = transformers.AutoTokenizer.from_pretrained(name, local_files_only=True)
        except OSError as error:
            raise UserError(f"No weights of {name} here. Get them with `hf download {name}`.") from error
        return cls(model.to(device), tokenizer)

    @torch.no_grad()
    def __call__(self, question: Question) -> Tensor:
        """For each concept its most certain instance at each place, and for "background" the rest, (C, h, w), 0-1."""
        side = self._model.config.vision_config.backbone_config.image_size
        small = question.image.convert("RGB").resize((side, side), Image.Resampling.BILINEAR)
        pixels = torch.from_numpy(np.asarray(small, dtype=np.float32) / 127.5 - 1).permute(2, 0, 1)[None]
        seen = self._model.get_vision_features(pixels.to(self._model.device))
        maps: list[Tensor | None] = [
            None if concept.text == "background" else self._of(seen, concept.text) for concept in question.concepts
        ]
        found = [one for one in maps if one is not None]
        if not found:
            raise UserError("SAM 3 needs a word to look for besides the background.")
        rest = 1 - torch.stack(found).amax(dim=0)
        return torch.stack([rest if one is None else one for one in maps])

    def _of(self, seen: Any, text: str) -> Tensor:
        words = self._tokenizer(
            text, padding="max_length", max_length=_LENGTH, truncation=True, return_tensors="pt"
        ).to(self._model.device)
        out = self._model(vision_embeds=seen, input_ids=words["input_ids"], attention_mask=words["attention_mask"])
        score = (out.pred_logits.sigmoid() * out.presence_logits.sigmoid())[0]
        return (score[:, None, None] * out.pred_masks[0].sigmoid()).amax(dim=0).float().cpu()
