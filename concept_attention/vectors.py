"""The vectors of a joint block, to compare concepts with the image in other spaces than the attention's output."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

import torch
from einops import rearrange
from torch import Tensor

from .recording.recording import Recording
from .scores import MODES, Vectors, score_concepts


@dataclass(frozen=True, eq=False)
class JointVectors:
    """What one joint block computes of its image tokens and of the concepts.

    Attributes:
        image_out, concept_out: attention outputs before the projection, (B, N, D) and (B, C, D). Tokens of reference
            images are the last of the N.
        image_q, image_k, image_v: queries, keys and values of the image tokens, (B, heads, N, head_dim); queries and
            keys normalised, before RoPE.
        concept_q, concept_k, concept_v: the concepts', (B, heads, C, head_dim). Where a model pads the concepts, the
            last row is a pad token.
        rotate_image: RoPE for heads of all image tokens, (B, heads, N, head_dim); leaves them as they are in a model
            without RoPE.

    Convention: D = heads * head_dim; any float dtype. The tensors are the model's own: reduce them at once, or copy
    them.
    Source: arXiv:2502.04320, Sec. 5, compares the output space with the value space and with cross attention.
    """

    image_out: Tensor
    concept_out: Tensor
    image_q: Tensor
    image_k: Tensor
    image_v: Tensor
    concept_q: Tensor
    concept_k: Tensor
    concept_v: Tensor
    rotate_image: Callable[[Tensor], Tensor]

    @property
    def rotated_image_q(self) -> Tensor:
        """Queries of the image tokens after RoPE, (B, heads, N, head_dim)."""
        return self.rotate_image(self.image_q)


OnVectors = Callable[[int, int, JointVectors], None]  # called with the step, the layer and its vectors


@dataclass(frozen=True)
class Space:
    """Two sets of vectors whose dot products are scores.

    Attributes:
        image, concept: names of attributes of `JointVectors`.
        mean_of_heads: the mean of the heads' dot products in place of their sum.
    """

    image: str
    concept: str
    mean_of_heads: bool = False


# The three of arXiv:2502.04320, Sec. 5.
SPACES: Mapping[str, Space] = MappingProxyType(
    {
        "output": Space("image_out", "concept_out"),
        "value": Space("image_v", "concept_v"),
        "cross": Space("image_q", "concept_k"),
    }
)


class SpaceScores:
    """Scores of a run in another space: give it as `on_vectors`, then ask for its recording.

    Args:
        space: in which image and concepts are compared.
        vectors: normalisation of the concept vectors, see `normalise_concepts`; that of the recording's mode.

    >>> import torch
    >>> from concept_attention.recording.example import example_recording
    >>> recording = example_recording()  # steps 0 and 1, layers 1 and 3, three concepts, 24 tokens
    >>> scores = SpaceScores(SPACES["value"])
    >>> heads = {name: torch.ones(1, 2, 24, 4) for name in ("image_q", "image_k", "image_v")}
    >>> heads |= {name: torch.ones(1, 2, 3, 4) for name in ("concept_q", "concept_k", "concept_v")}
    >>> out = torch.zeros(1, 24, 8), torch.zeros(1, 3, 8)
    >>> for step in recording.steps:
    ...     for layer in recording.layers:
    ...         scores(step, layer, JointVectors(*out, **heads, rotate_image=lambda heads: heads))
    >>> scores.recording(recording).scores.unique().item()  # 2 heads of 4 features
    8.0
    """

    def __init__(self, space: Space, vectors: Vectors = "raw") -> None:
        self._space = space
        self._vectors: Vectors = vectors
        self._kept: dict[tuple[int, int], tuple[Tensor, Tensor]] = {}  # by step and layer: scores, norms

    @torch.no_grad()
    def __call__(self, step: int, layer: int, vectors: JointVectors) -> None:
        image, concept = (getattr(vectors, name) for name in (self._space.image, self._space.concept))
        heads = image.shape[1] if self._space.mean_of_heads and image.ndim == 4 else 1
        image, concept = (_heads_together(one) for one in (image, concept))
        scores = score_concepts(image, concept, self._vectors) / heads
        self._kept[step, layer] = scores.cpu(), concept.float().norm(dim=-1).cpu()

    def recording(self, like: Recording) -> Recording:
        """The recording of the same run with the scores of this space, float32.

        Raises:
            ValueError: if that keeps no single steps, a step or layer of it was not seen here, or its mode normalises
                concept vectors in another way.
        """
        if like.averaged or (MODES[like.mode].vectors == "linear") != (self._vectors == "linear"):
            raise ValueError("Scores of another space need a recording of every step, in a mode of the same vectors.")
        steps = [[self._seen(step, layer) for layer in like.layers] for step in like.steps]
        scores, norms = (
            torch.stack([torch.stack([one[part] for one in layers]) for layers in steps]) for part in range(2)
        )
        count, scores = len(like.concepts), scores[..., : math.prod(like.grid)]
        pads = scores[..., count, :] if like.pad_count else None
        return replace(like, scores=scores[..., :count, :], norms=norms[..., :count], pad_scores=pads, offsets=None)

    def _seen(self, step: int, layer: int) -> tuple[Tensor, Tensor]:
        if (step, layer) not in self._kept:
            raise ValueError(f"Layer {layer} of step {step} was not seen. Give `SpaceScores` to the recorded run.")
        return self._kept[step, layer]


class KeptVectors:
    """Copies of the vectors of a run, on the CPU: give it as `on_vectors`, then `stack` them.

    They are large: an attribute of image tokens takes 50 MB per step and layer of Flux at 1024 x 1024 in bfloat16.

    Args:
        names: attributes of `JointVectors` to keep.
        layers, steps: to keep them of; None is all.
    """

    def __init__(
        self, names: Iterable[str], layers: Sequence[int] | None = None, steps: Sequence[int] | None = None
    ) -> None:
        self._kept: dict[str, dict[tuple[int, int], Tensor]] = {name: {} for name in names}
        self._layers, self._steps = layers, steps

    def __call__(self, step: int, layer: int, vectors: JointVectors) -> None:
        if _wanted(step, self._steps) and _wanted(layer, self._layers):
            for name, kept in self._kept.items():
                kept[step, layer] = getattr(vectors, name).detach().to("cpu", copy=True)

    def stack(self, name: str, recorded: Sequence[int]) -> Tensor:
        """The vectors of one name, (S, L, B, ...), in the model's dtype.

        Args:
            name: one of the names that were asked for.
            recorded: the steps whose evaluation was recorded to its end; others are left out.

        Raises:
            ValueError: if there are none.
        """
        kept = self._kept[name]
        steps = [step for step in sorted({step for step, _ in kept}) if step in recorded]
        layers = sorted({layer for _, layer in kept})
        if not steps:
            raise ValueError(f"No vectors were kept of the steps {tuple(recorded)}. Give them to the recorded run.")
        return torch.stack([torch.stack([kept[step, layer] for layer in layers]) for step in steps])


def _heads_together(vectors: Tensor) -> Tensor:
    """(B, heads, tokens, head_dim) as (B, tokens, D); what has no heads as it is."""
    return vectors if vectors.ndim == 3 else rearrange(vectors, "b heads n head_dim -> b n (heads head_dim)")


def _wanted(index: int, chosen: Sequence[int] | None) -> bool:
    return chosen is None or index in chosen
