"""Concept attention as the authors' Flux code computes and keeps it, to compare the library's cost with.

Written from the method's description. In every joint block a second attention queries concept and image tokens, so
every image row is computed twice; the attention outputs of image and concepts are moved to the CPU and kept until the
end of the run, when the scores are computed from them. Projections and MLP are the library's.
"""

from __future__ import annotations

from types import TracebackType
from typing import Any

import torch
import torch.nn.functional as F
from diffusers.models.embeddings import apply_rotary_emb
from torch import Tensor

from concept_attention.hosts.diffusers.transformers.flux import Flux
from concept_attention.hosts.diffusers.transformers.text_path import Modulation

ADAPTER = Flux()


class AuthorsWay:
    """Context manager that sends concept tokens through one Flux transformer of diffusers.

    Args:
        transformer: a FluxTransformer2DModel.
        embeddings: one embedding per concept, (C, E).
    """

    def __init__(self, transformer: Any, embeddings: Tensor) -> None:
        self._transformer = transformer
        self._embeddings = embeddings
        self._seen: dict[str, Any] = {}
        self._handles: list[Any] = []
        self.image_vectors: list[Tensor] = []  # per layer, (B, N, D)
        self.concept_vectors: list[Tensor] = []  # per layer, (B, C, D)
        self.scores: Tensor = torch.empty(0)  # after the run: dot products, (L, B, C, N), float32

    def __enter__(self) -> AuthorsWay:
        transformer = self._transformer
        self._handles.append(transformer.time_text_embed.register_forward_pre_hook(self._take_modulation))
        for block in transformer.transformer_blocks:
            self._handles += [
                block.register_forward_pre_hook(self._take_arguments, with_kwargs=True),
                block.attn.norm_q.register_forward_hook(self._taker("query")),
                block.attn.norm_k.register_forward_hook(self._taker("key")),
                block.attn.to_v.register_forward_hook(self._taker("value")),
                block.attn.to_out[0].register_forward_pre_hook(self._stepper(block)),
            ]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for handle in self._handles:
            handle.remove()
        self._seen.clear()
        if error is None:
            pairs = zip(self.concept_vectors, self.image_vectors, strict=True)
            self.scores = torch.stack([concepts.float() @ image.float().mT for concepts, image in pairs])

    @property
    def nbytes(self) -> int:
        """Size of the vectors kept on the CPU."""
        return sum(vectors.nbytes for vectors in (*self.image_vectors, *self.concept_vectors))

    def _take_modulation(self, module: Any, args: Any) -> None:
        self._seen["vec"] = ADAPTER.concept_conditioning(self._transformer, args)
        self._seen["concept"] = ADAPTER.project_concepts(self._transformer, self._embeddings[None])

    def _take_arguments(self, block: Any, args: Any, kwargs: Any) -> None:
        self._seen["arguments"] = kwargs

    def _taker(self, name: str) -> Any:
        def take(module: Any, args: Any, output: Tensor) -> None:
            self._seen[name] = output

        return take

    def _stepper(self, block: Any) -> Any:
        def step(module: Any, args: Any) -> None:
            self._step(block, args[0])

        return step

    def _step(self, block: Any, image_out: Tensor) -> None:
        attn, seen = block.attn, self._seen
        count = seen["concept"].shape[1]
        concept_norm, *modulation = block.norm1_context(seen["concept"], emb=seen["vec"])
        query, key, value = (
            project(concept_norm).unflatten(-1, (-1, attn.head_dim))
            for project in (attn.add_q_proj, attn.add_k_proj, attn.add_v_proj)
        )
        query = torch.cat((attn.norm_added_q(query), seen.pop("query")), dim=1)
        key = torch.cat((attn.norm_added_k(key), seen.pop("key")), dim=1)
        value = torch.cat((value, seen.pop("value").unflatten(-1, (-1, attn.head_dim))), dim=1)

        image = ADAPTER.image_slice(seen["arguments"])
        cos, sin = seen["arguments"]["image_rotary_emb"]
        angles = (F.pad(cos[image], (0, 0, count, 0), value=1.0), F.pad(sin[image], (0, 0, count, 0)))
        query, key = (apply_rotary_emb(tokens, angles, sequence_dim=1) for tokens in (query, key))
        query, key, value = (tokens.transpose(1, 2) for tokens in (query, key, value))
        joint = F.scaled_dot_product_attention(query, key, value)
        concept_out = joint.transpose(1, 2).flatten(2)[:, :count]

        self.image_vectors.append(image_out.to("cpu", copy=True))
        self.concept_vectors.append(concept_out.to("cpu", copy=True))
        rest = Modulation(*(part.unsqueeze(1) for part in modulation))
        seen["concept"] = ADAPTER.update_concepts(block, seen["concept"], concept_out, rest)
