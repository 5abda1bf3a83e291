"""What follows sampling computes on the device that is asked for, and gives the CPU's results."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from concept_attention.choices import KINDS, METHODS
from concept_attention.drawing.overlay import overlay_each, overlay_grid, overlay_segmentation
from concept_attention.heatmaps.guided import sharpen_heatmaps
from concept_attention.heatmaps.heatmaps import make_heatmaps
from concept_attention.heatmaps.masks import make_masks
from concept_attention.recording.example import example_recording
from concept_attention.recording.recording import Recording, in_float16
from concept_attention.viewer.maps import maps_of_recording
from tests.support.other_device import DEVICE, OtherDevice

RECORDING = example_recording(presence=True)
HEATMAPS = make_heatmaps(RECORDING)
IMAGE = torch.rand(64, 96, 3, generator=torch.Generator().manual_seed(0))
Compute = Callable[..., Tensor]


def _heatmaps(recording: Recording = RECORDING, **options: Any) -> Compute:
    return lambda **where: make_heatmaps(recording, **options, **where).values


def _masks(**options: Any) -> Compute:
    return lambda **where: make_masks(HEATMAPS, "house", **options, **where)


def _viewer(mode: str) -> Compute:
    def stored(**where: Any) -> Tensor:
        maps = maps_of_recording(RECORDING, mode, **where).of_image(0)
        return torch.from_numpy(maps.stored.astype("float32")) * maps.scale + maps.offset

    return stored


CASES: dict[str, tuple[Compute, str]] = {  # what is computed, and an operation that it takes
    **{f"heatmaps {kind}": (_heatmaps(kind=kind), "add") for kind in KINDS},
    "heatmaps flux2": (_heatmaps(mode="flux2"), "softmax"),
    "heatmaps of half precision": (_heatmaps(in_float16(RECORDING)), "softmax"),
    **{f"mask {method}": (_masks(method=method), "upsample_bilinear2d_aa") for method in METHODS},
    "mask finished": (
        _masks(method="argmax", holes=1.0, islands=1.0, grow=3, blur=2.0, subtract="sky"),
        "convolution",
    ),
    "sharpened": (lambda **where: sharpen_heatmaps(HEATMAPS, IMAGE[None], **where).values, "cumsum"),
    "grid": (lambda **where: overlay_grid(IMAGE, HEATMAPS, **where), "index_select"),
    "each": (lambda **where: overlay_each(IMAGE, HEATMAPS, blend="even", **where), "index_select"),
    "segmentation": (lambda **where: overlay_segmentation(IMAGE, HEATMAPS, **where), "argmax"),
    "viewer": (_viewer("auto"), "softmax"),
    "viewer of scores": (_viewer("flux2"), "round_"),
}


@pytest.mark.parametrize("case", CASES)
def test_another_device_gives_what_the_cpu_gives(case: str) -> None:
    compute, operation = CASES[case]
    expected = compute()
    with OtherDevice() as device:
        found = compute(device=DEVICE)
    assert found.device == torch.device("cpu") and torch.allclose(found, expected, atol=1e-4)
    assert operation in device.operations


def test_a_recording_stays_where_it_is() -> None:
    with OtherDevice():
        make_heatmaps(RECORDING, device=DEVICE)
    assert all(tensor.device == torch.device("cpu") for tensor in RECORDING.at() if tensor is not None)


def test_the_device_refuses_tensors_of_two_devices() -> None:
    """Otherwise no test here could fail."""
    with OtherDevice(), pytest.raises(RuntimeError, match="one device"):
        torch.ones(2).to(DEVICE) + torch.ones(2)
