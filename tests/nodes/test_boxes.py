"""Concept Boxes in the forms of core's nodes, of which a fake detector stands for SAM3."""

from __future__ import annotations

import json
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from comfy_execution.graph_utils import ExecutionBlocker
from torch import Tensor, nn

from .conftest import Pack


@pytest.fixture(scope="module")
def maps(pack: Pack) -> Any:
    """Two boats and a tree, 32 x 48 pixels."""
    values = torch.full((2, 2, 8, 12), 0.0)
    values[:, 0, 1:3, 1:3] = 1.0
    values[:, 0, 4:7, 5:9] = 1.0
    values[:, 1, 0:5, 11] = 1.0
    concept = pack.module("concept_attention.concepts").Concept
    library = pack.module("concept_attention.heatmaps.heatmaps")
    return library.Heatmaps(values, (concept("boat", "boat"), concept("tree", "tree")), "presence", (32, 48))


def test_boxes_are_lists_of_dictionaries_for_every_image(pack: Pack, maps: Any) -> None:
    output = pack.run("ConceptBoxes", heatmaps=maps)
    boxes, positive, negative, masks, crops, segs = output.args
    assert [len(of_image) for of_image in boxes] == [2, 2]
    assert {"x", "y", "width", "height"} <= set(boxes[0][0]) and all(
        type(boxes[0][0][k]) is int for k in ("x", "width")
    )
    assert boxes[0][0]["label"] == "boat" and 0.5 < boxes[0][0]["score"] <= 1
    assert len(json.loads(positive)) == 2 and len(json.loads(negative)) == 1
    assert masks.shape == (2, 32, 48) and set(masks.unique().tolist()) == {0.0, 1.0}
    assert isinstance(crops[0], ExecutionBlocker)  # no image was connected
    assert segs[0] == (32, 48) and [seg.label for seg in segs[1]] == ["boat", "boat"]
    assert pack.text(output).startswith("boat: ")


def test_crops_are_the_image_in_the_boxes(pack: Pack, maps: Any) -> None:
    image = torch.rand(2, 32, 48, 3, generator=torch.Generator().manual_seed(0))
    boxes, *_, crops, _ = pack.run("ConceptBoxes", heatmaps=maps, image=image, padding=1).args
    box = boxes[1][0]
    expected = image[1:2, box["y"] : box["y"] + box["height"], box["x"] : box["x"] + box["width"]]
    assert len(crops) == 4 and torch.equal(crops[2], expected)


def test_nothing_found_is_empty_in_every_form(pack: Pack, maps: Any) -> None:
    output = pack.run("ConceptBoxes", heatmaps=maps, threshold=1.0)
    boxes, positive, _, masks, crops, segs = output.args
    assert boxes == [[], []] and positive == "[]" and not masks.any() and masks.shape == (1, 32, 48)
    assert isinstance(crops[0], ExecutionBlocker) and segs[1] == []
    assert pack.text(output) == "boat: nothing found"


class FakeSam(nn.Module):
    """Segments what lies in a box, or a square around each positive point, at 1008 x 1008 as SAM3 does."""

    def forward_segment(self, frame: Tensor, box_inputs: Any = None, point_inputs: Any = None, mask_inputs: Any = None):
        if mask_inputs is not None:
            return mask_inputs
        logits = torch.full((1, 1, 1008, 1008), -1.0)
        if box_inputs is not None:
            (left, top), (right, bottom) = box_inputs[0].round().int().tolist()
            logits[..., top:bottom, left:right] = 1
            return logits
        points, labels = point_inputs["point_coords"][0], point_inputs["point_labels"][0]
        for (x, y), label in zip(points.round().int().tolist(), labels.tolist(), strict=True):
            logits[..., max(0, y - 40) : y + 40, max(0, x - 40) : x + 40] = 1 if label else -1
        return logits


@pytest.fixture
def sam(monkeypatch: pytest.MonkeyPatch) -> Any:
    import comfy.model_management

    monkeypatch.setattr(comfy.model_management, "load_model_gpu", lambda model: None)
    monkeypatch.setattr(comfy.model_management, "get_torch_device", lambda: torch.device("cpu"))
    return SimpleNamespace(model=SimpleNamespace(diffusion_model=FakeSam(), get_dtype=lambda: torch.float32))


def test_core_s_sam3_detect_takes_boxes_and_points(pack: Pack, maps: Any, sam: Any) -> None:
    sam3 = pytest.importorskip("comfy_extras.nodes_sam3")
    boxes, positive, negative, masks, _, _ = pack.run("ConceptBoxes", heatmaps=maps).args
    image = torch.zeros(2, 32, 48, 3)
    by_box = sam3.SAM3_Detect.execute(sam, image, bboxes=boxes, individual_masks=True)[0]
    assert by_box.shape[0] == 4
    assert (
        torch.equal(by_box[:2].amax(dim=0) > 0, masks.amax(dim=0) > 0)
        or float((by_box[:2].amax(dim=0) - masks.amax(dim=0)).abs().mean()) < 0.05
    )
    by_point = sam3.SAM3_Detect.execute(sam, image[:1], positive_coords=positive, negative_coords=negative)[0]
    for point in json.loads(positive):
        assert by_point[0, point["y"], point["x"]] == 1
    for point in json.loads(negative):
        assert by_point[0, point["y"], point["x"]] == 0


def test_sockets_are_those_of_core_s_nodes(pack: Pack) -> None:
    sam3 = pytest.importorskip("comfy_extras.nodes_sam3")
    outputs = {item.display_name: item.io_type for item in pack.nodes["ConceptBoxes"].GET_SCHEMA().outputs}
    inputs = {item.id: item.io_type for item in sam3.SAM3_Detect.GET_SCHEMA().inputs}
    assert [outputs[name] for name in ("bboxes", "positive_coords", "negative_coords")] == [
        inputs[name] for name in ("bboxes", "positive_coords", "negative_coords")
    ]
    tracked = {item.id: item.io_type for item in sam3.SAM3_VideoTrack.GET_SCHEMA().inputs}
    assert outputs["masks"] == tracked["initial_mask"]


def test_the_impact_pack_s_own_class_is_taken_if_it_is_loaded(
    pack: Pack, maps: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    core = ModuleType("impact.core")
    core.SEG = lambda *parts: ("theirs", *parts)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "impact.core", core)
    *_, segs = pack.run("ConceptBoxes", heatmaps=maps).args
    name, image, mask, score, region, box, label, control = segs[1][0]
    assert name == "theirs" and image is None and control is None and label == "boat"
    assert mask.shape == (region[3] - region[1], region[2] - region[0]) and box == region and score > 0.5
