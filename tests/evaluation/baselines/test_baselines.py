"""Baselines: maps of the right shape that say what each is meant to say, on tiny random models."""

from __future__ import annotations

import pytest
import torch
from PIL import Image

from concept_attention.concepts import Concept
from concept_attention.errors import UserError
from concept_attention.evaluation.baselines.dino import Dino
from concept_attention.evaluation.baselines.opening import open_baseline
from concept_attention.evaluation.protocols import Question


def question(size: tuple[int, int] = (96, 48)) -> Question:
    names = ("dog", "cat", "sky")
    image = Image.linear_gradient("L").resize(size).convert("RGB")
    return Question(image, False, tuple(Concept(name, name) for name in names), (1, 2, None), "")


def test_the_uniform_baseline_shares_everything() -> None:
    maps = open_baseline("uniform", None, "cpu")(question())
    assert torch.equal(maps, torch.full((3, 64, 64), 1 / 3))


def test_the_centre_is_the_classes_and_the_border_is_not() -> None:
    """A Gaussian of a quarter of the side: exp(-1/2) a quarter from the middle."""
    maps = open_baseline("centre", None, "cpu")(question())
    assert torch.allclose(maps.sum(dim=0), torch.ones(64, 64))
    assert torch.equal(maps[0], maps[1]) and float(maps[0, 32, 32]) > 0.49
    assert float(maps[0, 32, 48]) == pytest.approx(0.5 * float(torch.exp(torch.tensor(-0.5))), abs=0.02)
    assert float(maps[2, 0, 0]) > 0.95


def test_dino_shows_where_its_class_token_looks() -> None:
    from transformers import ViTConfig, ViTModel

    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
    config = ViTConfig(image_size=32, patch_size=8, **sizes, attn_implementation="eager")
    model = ViTModel(config, add_pooling_layer=False)
    seen: list[tuple[int, ...]] = []
    model.register_forward_pre_hook(lambda module, args: seen.append(tuple(args[0].shape)))
    maps = Dino(model)(question((97, 48)))
    assert seen == [(1, 3, 480, 968)]  # the short side is 480, the other cut to whole patches of 970
    assert maps.shape == (3, 60, 121) and float(maps.max()) == pytest.approx(1)
    assert torch.equal(maps[0], maps[1]) and torch.allclose(maps[2], 1 - maps[0])
    assert float(maps[0].std()) > 0


def test_weights_that_are_not_here_are_not_downloaded() -> None:
    with pytest.raises(UserError, match="hf download nobody/dino"):
        open_baseline("dino", "nobody/dino", "cpu")
