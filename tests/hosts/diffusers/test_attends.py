"""What concept tokens attend to: the ablations of the paper, on the landscape model's first joint block."""

from __future__ import annotations

from typing import Any, get_args

import pytest
import torch
from PIL import Image
from torch import Tensor

from concept_attention.choices import Attends
from concept_attention.errors import UserError
from concept_attention.hosts.diffusers import analyze, load_pipeline
from concept_attention.vectors import JointVectors


@pytest.fixture(scope="module")
def pipeline() -> Any:
    return load_pipeline("tiny", device="cpu")


def first_block(pipeline: Any, attends: Attends) -> JointVectors:
    kept: list[JointVectors] = []
    image = Image.linear_gradient("L").resize((64, 48)).convert("RGB")
    analyze(
        pipeline, image, ["sky", "house"], width=64, height=48, layers="0", attends=attends,
        on_vectors=lambda step, layer, vectors: kept.append(vectors),
    )  # fmt: skip
    return kept[0]


def naive(vectors: JointVectors, attends: Attends) -> Tensor:
    """Softmax over what the concepts may look at, head by head and concept by concept; (C, heads, head_dim)."""
    image_k = vectors.rotate_image(vectors.image_k)[0]
    q, k, v = vectors.concept_q[0], vectors.concept_k[0], vectors.concept_v[0]
    rows = []
    for concept in range(q.shape[1]):
        heads = []
        for head in range(q.shape[0]):
            keys = {"both": [k[head], image_k[head]], "image": [image_k[head]], "concepts": [k[head]]}
            values = {
                "both": [v[head], vectors.image_v[0, head]],
                "image": [vectors.image_v[0, head]],
                "concepts": [v[head]],
            }
            if attends == "itself":
                heads.append(v[head, concept])
                continue
            logits = torch.cat(keys[attends]) @ q[head, concept] / q.shape[-1] ** 0.5
            heads.append(logits.softmax(dim=0) @ torch.cat(values[attends]))
        rows.append(torch.stack(heads))
    return torch.stack(rows)


@pytest.mark.parametrize("attends", get_args(Attends))
def test_concepts_see_only_what_they_may(pipeline: Any, attends: Attends) -> None:
    vectors = first_block(pipeline, attends)
    assert torch.allclose(vectors.concept_out[0], naive(vectors, attends).flatten(1), atol=1e-5)


def test_another_word_is_refused(pipeline: Any) -> None:
    with pytest.raises(UserError, match="both, image, concepts, itself"):
        analyze(pipeline, Image.new("RGB", (64, 64)), ["sky"], attends="prompt")  # type: ignore[arg-type]
