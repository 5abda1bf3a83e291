"""Which models are supported, and what users are told about the others."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import comfy.model_base
import pytest
import torch
from torch import nn

import concept_attention.hosts.comfyui.adapters as package
from concept_attention.hosts.comfyui.adapters import registry
from concept_attention.hosts.comfyui.adapters.flux import Flux
from concept_attention.hosts.comfyui.adapters.registry import adapter_for

from ....support.comfyui.architectures.catalogue import TINY_ARCHITECTURES
from ....support.comfyui.cross_attention.catalogue import VARIANTS
from ....support.comfyui.tiny import make_flux


def model_of(name: str) -> Any:
    """A model of one of ComfyUI's classes, with no network to speak of."""
    model = object.__new__(getattr(comfy.model_base, name))
    nn.Module.__init__(model)
    model.diffusion_model = nn.Identity()
    return model


@pytest.mark.parametrize("guidance", [False, True])
def test_flux_has_its_adapter(guidance: bool) -> None:
    assert isinstance(adapter_for(make_flux(guidance=guidance).model), Flux)


def test_a_compiled_network_is_recognised() -> None:
    model = make_flux().model
    model.diffusion_model = torch.compile(model.diffusion_model, backend="eager")
    assert isinstance(adapter_for(model), Flux)


@pytest.mark.parametrize(
    "name", [name for name, reason in registry._REASON.items() if reason is registry._OTHER_VARIANT]
)
def test_variants_that_no_adapter_matches_are_refused_for_that(name: str) -> None:
    if not hasattr(comfy.model_base, name):
        pytest.skip(f"this ComfyUI has no {name}")
    with pytest.raises(
        ValueError, match=rf"^{name} \(Identity\) is supported, but not in this variant.* Supported are: .*Flux 1"
    ):
        adapter_for(model_of(name))


def test_a_unet_that_is_not_read_is_known_by_its_network() -> None:
    model = model_of("BaseModel")
    model.diffusion_model = object.__new__(comfy.model_base.UNetModel)
    nn.Module.__init__(model.diffusion_model)
    model.diffusion_model.input_blocks = model.diffusion_model.output_blocks = nn.ModuleList()
    model.diffusion_model.middle_block = None
    with pytest.raises(ValueError, match=r"^BaseModel \(UNetModel\) has layers over time"):
        adapter_for(model)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("ComfyFluxWrapper", "runs its blocks in nunchaku's own compiled code.*Load Diffusion Model"),
        ("NunchakuQwenImageTransformer2DModel", "has nunchaku's own blocks.*Load Diffusion Model"),
    ],
)
def test_networks_of_other_packs_are_refused_with_what_works_instead(name: str, reason: str) -> None:
    model = model_of("Flux")
    model.diffusion_model = type(name, (nn.Module,), {})()
    with pytest.raises(ValueError, match=rf"^Flux \({name}\) {reason}"):
        adapter_for(model)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("Hunyuan3Dv2", "reads no text"),
        ("SeedVR2", "has its texts fixed in its weights"),
        ("HiDreamO1", "reads its text inside of the image model"),
        ("StableCascade_C", "has cross-attention in blocks that no reading here knows"),
        ("StableAudio1", "generates no image"),
    ],
)
def test_what_cannot_be_reached_is_refused_for_its_reason(name: str, reason: str) -> None:
    if not hasattr(comfy.model_base, name):
        pytest.skip(f"this ComfyUI has no {name}")
    with pytest.raises(ValueError, match=rf"^{name} \(Identity\) {reason}"):
        adapter_for(model_of(name))


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("SenseNovaU15", "reads its text inside of the image model"),
        ("Kandinsky6", "has cross-attention in blocks that no reading here knows"),
        ("Prism", "has cross-attention in blocks that no reading here knows"),
        ("YuE2", "generates no image"),
    ],
)
def test_models_of_newer_versions_are_refused_for_their_reasons(name: str, reason: str) -> None:
    model = model_of("BaseModel")
    model.__class__ = type(name, (comfy.model_base.BaseModel,), {})
    with pytest.raises(ValueError, match=rf"^{name} \(Identity\) {reason}"):
        adapter_for(model)


def test_every_class_of_comfyui_is_supported_or_has_a_reason() -> None:
    everyone = (*TINY_ARCHITECTURES, *VARIANTS)
    supported = {type(tiny.build(device="meta")) for tiny in everyone if tiny.in_host}
    kinds = [kind for kind in vars(comfy.model_base).values() if isinstance(kind, type)]
    unknown = [
        kind.__name__
        for kind in kinds
        if issubclass(kind, comfy.model_base.BaseModel) and kind is not comfy.model_base.BaseModel
        if not any(base.__name__ in registry._REASON or base in supported for base in kind.__mro__)
    ]
    assert not unknown


def test_an_unknown_model_is_named_with_its_network() -> None:
    class Surprise(comfy.model_base.BaseModel):  # type: ignore[misc]
        def __init__(self) -> None:
            nn.Module.__init__(self)
            self.diffusion_model = nn.Identity()

    with pytest.raises(
        ValueError, match=r"^Surprise \(Identity\) is not supported: neither joint blocks nor cross-attention"
    ) as error:
        adapter_for(Surprise())
    assert "\n" not in str(error.value)


def test_every_reason_names_a_class_that_comfyui_has_or_had() -> None:
    """A typing error in the table would go unnoticed: classes younger than the oldest host may be missing there."""
    missing = [name for name in registry._REASON if not hasattr(comfy.model_base, name)]
    younger = {"ErnieImage", "HiDreamO1", "Ideogram4", "JoyImage", "Krea2", "Lens", "PixelDiTT2I"}
    younger |= {"ACEStep15", "Boogu", "DepthAnything3", "MiniMaxH3", "MiniMaxMusic3", "RT_DETR_v4", "SAM3", "SeedVR2"}
    younger |= {"StableAudio3", "Trellis2", "TripoSplat"}
    younger |= {"Kandinsky6", "MingImage", "Prism", "SenseNovaU15", "YuE2"}  # than the newest that is tested with
    assert set(missing) <= younger


def test_a_family_that_this_comfyui_lacks_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, line in (
        ("younger", "from comfy.ldm.flux.model import NotYetThere"),
        ("youngest", "import comfy.not_there_yet"),
        ("broken", "import nowhere_at_all"),
    ):
        (tmp_path / f"{name}.py").write_text(line, encoding="utf-8")
    monkeypatch.setattr("concept_attention.hosts.comfyui.adapters.__path__", [*package.__path__, str(tmp_path)])
    (found,) = registry.make_adapters((("flux", "Flux"), ("younger", "Younger"), ("youngest", "Youngest")))
    assert isinstance(found, Flux)
    with pytest.raises(ModuleNotFoundError, match="nowhere_at_all"):
        registry.make_adapters((("broken", "Broken"),))


def test_every_registered_class_is_documented_and_has_a_tiny_model() -> None:
    for adapter in (*registry.ADAPTERS, *registry.CROSS_ADAPTERS):
        kind = type(adapter)
        assert "comfy/ldm/" in (sys.modules[kind.__module__].__doc__ or ""), (
            f"{kind.__name__} names no file of the host"
        )
        assert adapter.supported and not vars(adapter), f"{kind.__name__} keeps state"
    tested = {type(tiny.adapter) for tiny in TINY_ARCHITECTURES}
    assert {type(adapter) for adapter in registry.ADAPTERS} <= tested
    assert {(f"cross_attention.{module}", name) for module, name in (tiny.family for tiny in VARIANTS)} == set(
        registry.CROSS_FAMILIES
    )
