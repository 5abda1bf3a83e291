"""The guide "Add an architecture": its adapter and tiny model pass the tests of every architecture, and nothing else.

The engine has no branch for any architecture, or a model that it has never seen could not be recorded.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import comfy.model_base
import comfy.supported_models
import comfy.supported_models_base
import pytest
import torch

from concept_attention.hosts.comfyui.adapters import registry

from ....support.comfyui.architectures import catalogue
from ....support.comfyui.architectures.tiny_architecture import TinyArchitecture
from . import test_architectures

GUIDE = Path(__file__).resolve().parents[4] / "docs" / "add-an-architecture.md"
MODEL, ADAPTER, VARIANT = re.findall(
    r"^```python\n(.*?)^```", GUIDE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
)
CHECKS = {name: check for name, check in vars(test_architectures).items() if name.startswith("test_")}


def run_as(name: str, code: str, patch: pytest.MonkeyPatch) -> ModuleType:
    """The code as a module of that name, as if it lay in a file there."""
    module = ModuleType(name)
    module.__package__ = name.rpartition(".")[0]
    patch.setitem(sys.modules, name, module)
    exec(compile(code, name, "exec"), vars(module))  # noqa: S102 - this project's own
    return module


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> TinyArchitecture:
    """The guide's tiny model, with the toy in ComfyUI and its adapter in the registry."""
    model = run_as("comfy.ldm.toy.model", MODEL, monkeypatch)

    class Toy(comfy.supported_models_base.BASE):  # type: ignore[misc]
        unet_config: dict[str, Any] = {}
        unet_extra_config: dict[str, Any] = {}

        def inpaint_model(self) -> bool:
            return False

        def get_model(self, state_dict: Any, prefix: str = "", device: Any = None) -> Any:
            flow = comfy.model_base.ModelType.FLOW
            return comfy.model_base.BaseModel(self, flow, device=device, unet_model=model.ToyTransformer)

    monkeypatch.setattr(comfy.supported_models, "Toy", Toy, raising=False)
    run_as("concept_attention.hosts.comfyui.adapters.toy", ADAPTER, monkeypatch)
    monkeypatch.setattr(registry, "ADAPTERS", registry.make_adapters((*registry.FAMILIES, ("toy", "Toy"))))
    run_as(f"{catalogue.__package__}.toy", VARIANT, monkeypatch)
    (tiny,) = catalogue.variants_of("toy")
    return tiny


@pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS.keys())
def test_the_guides_toy_passes_what_every_architecture_must(
    check: Callable[[TinyArchitecture], None], toy: TinyArchitecture
) -> None:
    check(toy)


def test_without_its_line_in_the_registry_it_is_not_supported(
    toy: TinyArchitecture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "ADAPTERS", registry.make_adapters(registry.FAMILIES))
    with pytest.raises(ValueError, match=r"^BaseModel \(ToyTransformer\) is not supported: neither joint blocks"):
        registry.adapter_for(toy.make().model)


def test_an_adapter_that_forgets_the_modulation_is_found_out(
    toy: TinyArchitecture, monkeypatch: pytest.MonkeyPatch
) -> None:
    without = ADAPTER.replace("concept * (1 + scale)", "concept")
    blind = run_as("concept_attention.hosts.comfyui.adapters.blind", without, monkeypatch)
    monkeypatch.setattr(type(toy.adapter), "concept_qkv", blind.Toy.concept_qkv)
    with pytest.raises(AssertionError):
        test_architectures.test_scores_are_those_of_blocks_that_run_on_the_concepts(toy)
    with pytest.raises(AssertionError), torch.no_grad():
        test_architectures.test_the_prompts_own_tokens_as_concepts_stay_the_prompt(toy)
