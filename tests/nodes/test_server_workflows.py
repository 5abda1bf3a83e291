"""Example workflows and the subgraph in a running ComfyUI: they load and do what their notes say."""

from __future__ import annotations

import json
import re
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from concept_attention.tiny.world.contents import LABELS
from concept_attention.tiny.world.scenes import draw_scene

from ..support.browser.layout import saved_view
from ..support.server.client import Client, Run
from ..support.server.examples import (
    BLUEPRINTS,
    NEED_NO_DOWNLOAD,
    lend_landscape_model,
    models_of,
    reword,
    set_everywhere,
    workflows,
)
from ..support.server.graph import Graph, Node
from ..support.server.landscape import Landscape
from ..support.server.workflow import load_workflow, titled, to_graph, top_level
from ..support.server.workflow_check import complaints

WORKFLOWS = workflows()
NEED_FILES = [name for name in WORKFLOWS if not name.endswith(NEED_NO_DOWNLOAD)]
OF_IMAGES = [name for name in NEED_FILES if "to video" not in name]  # the landscape model makes no videos
NEED_NODES = {"21 MiniMax-H3 - text to video with heatmaps": "MiniMaxH3ImageToVideo"}  # which older ComfyUIs lack
BLUEPRINT_FILES = {file.stem: file for file in sorted(BLUEPRINTS.glob("*.json"))}
TYPED = {  # into the widgets of a blueprint's node
    "Text to Image with Concept Mask": {
        "prompt": "a boat on water under a sun in the blue sky",
        "concepts": "boat, sun",
        "background": "sky, water",
        "mask_of": "sky",
        "mask_method": "argmax",
        "width": 256,
        "height": 192,
        "batch_size": 1,
        "seed": 3,
        "steps": 8,
        "cfg": 1.0,
        "sampler_name": "euler",
        "scheduler": "simple",
    },
    "Image to Concept Mask": {
        "concepts": "house, tree",
        "background": "sky, grass, sand, water, snow",
        "mask_of": "sky",
        "mask_method": "argmax",
        "blur": 0.0,
        "noise": 0.4,
        "samples": 2,
    },
    "Edit Where a Concept Is": {
        "concept": "sky",
        "background": "house, tree, sun, grass, sand, water, snow",
        "prompt": "grass",
        "mask_method": "argmax",
        "grow": 0,
        "denoise": 1.0,
        "seed": 1,
        "steps": 4,
        "cfg": 1.0,
        "sampler_name": "euler",
        "scheduler": "simple",
    },
    "Fix the Concept": {
        "concept": "sky",
        "background": "house, tree, sun, grass, sand, water, snow",
        "prompt": "grass",
        "denoise": 0.7,
        "grow": 4,
        "blur": 4.0,
        "seed": 1,
        "steps": 8,
        "cfg": 1.0,
        "sampler_name": "euler",
        "scheduler": "simple",
    },
    "Prompt Where It Is": {
        "prompt": "a white house and a tree on grass under the sky",
        "prompt_there": "a red house and a tree on grass under the sky",
        "concept": "house",
        "background": "tree, sky, grass",
        "way": "keep the rest",
        "start": 0.2,
        "width": 256,
        "height": 256,
        "batch_size": 1,
        "seed": 4,
        "steps": 24,
        "cfg": 3.0,
        "sampler_name": "euler",
        "scheduler": "simple",
    },
    "Check and Re-roll": {
        "prompt": "a red house on grass under the sky",
        "wanted": "red house, grass",
        "seeds": 2,
        "part": 0.5,
        "threshold": 0.5,
        "width": 192,
        "height": 192,
        "batch_size": 1,
        "seed": 1,
        "steps": 10,
        "cfg": 3.0,
        "sampler_name": "lcm",
        "scheduler": "simple",
    },
}
FRAMES = 9  # of the clip that an example makes
CHANGED = 12  # mean difference of the 0-255 values that eyes see


@pytest.fixture(scope="module")
def infos(comfyui: Client) -> dict[str, Any]:
    """/object_info of a ComfyUI in which the workflows' files lie, as far as a list of names shows."""
    models, inputs = comfyui.server.base / "models", comfyui.server.base / "input"
    for name in NEED_FILES:
        for model in models_of(load_workflow(WORKFLOWS[name])):
            file = models / model["directory"] / model["name"]
            file.parent.mkdir(exist_ok=True)
            file.touch()
    Image.fromarray(draw_scene(3, 256, 256).image).save(inputs / "example.png")  # where ComfyUI has a picture
    return comfyui.object_info()


@pytest.fixture(scope="module", autouse=True)
def tidied(comfyui: Client, infos: dict[str, Any]) -> Any:
    yield
    for file in (comfyui.server.base / "models").rglob("*"):
        if file.is_file():  # not the folders: ComfyUI expects those it has once seen to stay
            file.unlink()


def example(name: str) -> dict[str, Any]:
    return load_workflow(WORKFLOWS[name + NEED_NO_DOWNLOAD])


def picture_of(comfyui: Client, run: Run, workflow: dict[str, Any], title: str) -> np.ndarray:
    """What the node with this title shows, (batch, H, W, 3), 0-255."""
    return np.stack(comfyui.images(run, titled(workflow, title)))


def values_of(workflow: dict[str, Any], title: str) -> list[Any]:
    (node,) = (node for node in workflow["nodes"] if node.get("title") == title)
    return list(node["widgets_values"])


def concepts_in(comfyui: Client, pictures: np.ndarray, names: list[str]) -> dict[str, np.ndarray]:
    """Where the model finds these concepts in finished pictures: masks (batch, H, W)."""
    start = Landscape(concepts=", ".join(names))
    found: dict[str, list[Node]] = {name: [] for name in names}
    for index, picture in enumerate(pictures):
        file = comfyui.server.base / "input" / f"look_{index}.png"
        Image.fromarray(picture).save(file)
        loaded = start.graph.add("LoadImage", image=file.name)
        latent = start.graph.add("VAEEncode", pixels=loaded[0], vae=start.vae)
        options = {"noise": 0.4, "samples": 2, "seed": 0}
        recording = start.graph.add(
            "ConceptAttentionEncodeImage", model=start.model, concepts=start.encoded[0], latent=latent[0], **options
        )
        heatmaps = start.graph.add("ConceptHeatmaps", recording=recording[0])
        for name in names:
            mask = start.graph.add("ConceptHeatmapToMask", heatmaps=heatmaps[0], concepts=name, method="argmax")
            found[name].append(start.graph.add("MaskPreview", mask=mask[0]))
    run = comfyui.run(start.graph)
    return {name: np.concatenate([comfyui.images(run, node) for node in found[name]])[..., 0] > 0 for name in names}


def check_replacement(before: np.ndarray, after: np.ndarray, masks: np.ndarray) -> None:
    """Outside the masks (batch, H, W) every pixel is as it was; inside the pictures are others."""
    assert before.shape == after.shape and 0.01 < masks.mean() < 0.5
    assert np.array_equal(before[~masks], after[~masks])
    for one, other, mask in zip(before, after, masks, strict=True):
        if mask.any():
            assert np.abs(one[mask].astype(float) - other[mask]).mean() > CHANGED


def barely(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether pixels differ by no more than where a mask is shown as 0 and is not: it fades out."""
    return bool(np.abs(one.astype(int) - other).max() <= 1)


@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_workflow_opens_without_anything_red(infos: dict[str, Any], name: str) -> None:
    if (needed := NEED_NODES.get(name)) and needed not in infos:
        pytest.skip(f"this ComfyUI has no {needed}")
    workflow = load_workflow(WORKFLOWS[name])
    assert complaints(workflow, infos) == []
    note = next(node for node in workflow["nodes"] if node["type"] == "MarkdownNote")
    assert "`" not in note["widgets_values"][0]  # in Nodes 2.0 code can hardly be read on a note
    assert note["pos"][0] == min(node["pos"][0] for node in workflow["nodes"])  # what is read first
    assert workflow["extra"]["ds"] == saved_view(workflow["nodes"])  # so that it is in the window
    links = [model["url"] for model in models_of(workflow)]
    assert all(link in note["widgets_values"][0] for link in links) and bool(links) == (name in NEED_FILES)


@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_workflow_is_offered_with_a_picture(comfyui: Client, name: str) -> None:
    pack = comfyui.server.name
    assert name in json.loads(comfyui.get("/workflow_templates"))[pack]
    address = f"/api/workflow_templates/{pack}/{name}".replace(" ", "%20")
    assert json.loads(comfyui.get(f"{address}.json")) == load_workflow(WORKFLOWS[name])
    content = comfyui.get(f"{address}.jpg")
    picture = Image.open(BytesIO(content))
    assert picture.format == "JPEG" and 400 <= picture.width <= 640 and len(content) < 160_000


def test_names_sort_in_the_order_meant() -> None:
    """The server lists files in any order."""
    numbers = [name.split()[0] for name in WORKFLOWS]
    assert all(re.fullmatch(r"\d\d", number) for number in numbers) and len(set(numbers)) == len(numbers)


def test_readme_names_the_workflow_to_open_and_every_blueprint() -> None:
    readme = (BLUEPRINTS.parent / "README.md").read_text(encoding="utf-8")
    assert f"**{next(iter(WORKFLOWS))}**" in readme
    assert all(f"**{name}**" in readme for name in BLUEPRINT_FILES)


def test_the_workflows_show_what_the_pack_has(infos: dict[str, Any]) -> None:
    graphs = [load_workflow(file) for file in WORKFLOWS.values()]
    used = {node["type"] for graph in graphs for _, node in top_level(graph).running()}
    used |= {node["type"] for graph in graphs for node in graph["nodes"]}  # muted ones too
    ours = {name for name, info in infos.items() if info["category"].startswith("ConceptAttention")}
    assert ours <= used


def test_quick_start_gives_the_viewer_a_recording_and_a_mask(comfyui: Client, infos: dict[str, Any]) -> None:
    workflow = example("01 Quick start")
    run = comfyui.run(to_graph(workflow, infos))
    (viewer,) = (node for node in workflow["nodes"] if node["type"] == "ConceptHeatmapViewer")
    (manifest,) = run.outputs[str(viewer["id"])]["concept_viewer"]
    assert manifest["pictures"][0]["shape"] == [30, 4, 5, 1, 16, 16]
    mask = picture_of(comfyui, run, workflow, "Mask of the picked concepts")
    assert set(np.unique(mask)) == {0, 255} and 0.03 < (mask > 0).mean() < 0.15  # a boat


def test_a_concept_of_a_finished_picture_is_edited_and_nothing_else(comfyui: Client, infos: dict[str, Any]) -> None:
    workflow = example("09 Edit where a concept is")
    run = comfyui.run(to_graph(workflow, infos))
    before, after = (picture_of(comfyui, run, workflow, title) for title in ("Before", "After"))
    masks = picture_of(comfyui, run, workflow, "The mask")[..., 0] > 0
    check_replacement(before, after, masks)
    names = ["house", "tree", "sun", "balloon", "sky", "grass"]
    first, second = (concepts_in(comfyui, pictures, names) for pictures in (before, after))
    assert first["sun"][masks].mean() > 0.2 > first["balloon"][masks].mean()
    assert second["balloon"][masks].mean() > 0.2 > second["sun"][masks].mean()


def test_a_concept_is_painted_again_and_the_rest_stays(comfyui: Client, infos: dict[str, Any]) -> None:
    workflow = example("19 Fix a concept")
    run = comfyui.run(to_graph(workflow, infos))
    before, after, masks = (picture_of(comfyui, run, workflow, title) for title in ("Before", "After", "The mask"))
    inside, outside = masks[..., 0] == 255, masks[..., 0] == 0
    assert 0.02 < inside.mean() < 0.4 and barely(before[outside], after[outside])
    assert np.abs(after[inside].astype(float) - before[inside]).mean() > CHANGED


def test_inpainting_replaces_the_masked_object_and_nothing_else(comfyui: Client, infos: dict[str, Any]) -> None:
    workflow = example("06 Inpaint with a concept")
    run = comfyui.run(to_graph(workflow, infos))
    before, after = (picture_of(comfyui, run, workflow, title) for title in ("The image", "The second image"))
    masks = picture_of(comfyui, run, workflow, "The mask")[..., 0] > 0
    heatmaps = picture_of(comfyui, run, workflow, "A heatmap for each concept")
    assert before.shape == (1, 256, 256, 3) and heatmaps.shape[0] == 1 and heatmaps.std() > 20
    check_replacement(before, after, masks)
    names = ["boat", "balloon", "sun", "sky", "water"]
    first, second = (concepts_in(comfyui, pictures, names) for pictures in (before, after))
    assert first["balloon"][masks].mean() > 0.3 > first["sun"][masks].mean()
    assert second["sun"][masks].mean() > 0.15 > second["balloon"][masks].mean()


def test_a_concept_is_replaced_in_every_picture_of_a_batch(comfyui: Client, infos: dict[str, Any]) -> None:
    workflow = example("07 Replace a concept")
    run = comfyui.run(to_graph(workflow, infos))
    before, after = (picture_of(comfyui, run, workflow, title) for title in ("Before", "After"))
    masks = picture_of(comfyui, run, workflow, "Four masks")[..., 0] > 0
    assert len(before) == 4 and masks.any(axis=(1, 2)).sum() >= 3
    check_replacement(before, after, masks)
    assert picture_of(comfyui, run, workflow, "After: which concept is where").shape[0] == 4


def test_masks_and_a_cut_out_of_an_existing_picture(comfyui: Client, infos: dict[str, Any]) -> None:
    workflow = example("04 Masks of a picture")
    graph = to_graph(workflow, infos)
    set_everywhere(graph, steps=8)
    run = comfyui.run(graph)
    one, both, soft = (
        picture_of(comfyui, run, workflow, title)[0, ..., 0]
        for title in ("The house", "House and tree", "The tree, soft")
    )
    assert bool((one <= both).all()) and 0 < one.mean() < both.mean() < 128
    assert set(np.unique(both)) == {0, 255} and len(np.unique(soft)) > 20
    (file,) = comfyui.files(run, titled(workflow, "The cut-out"))
    assert np.array_equal(np.asarray(Image.open(BytesIO(file)))[..., 3], both)


def test_a_browser_can_look_into_two_pictures(comfyui: Client, infos: dict[str, Any]) -> None:
    workflow = example("12 Look inside")
    graph = to_graph(workflow, infos)
    set_everywhere(graph, steps=8)
    run = comfyui.run(graph)
    (viewer,) = (node for node in workflow["nodes"] if node["type"] == "ConceptHeatmapViewer")
    (manifest,) = run.outputs[str(viewer["id"])]["concept_viewer"]
    assert len(manifest["pictures"]) == 2 and manifest["pictures"][0]["shape"] == [8, 4, 5, 1, 16, 16]
    masks = picture_of(comfyui, run, workflow, "The mask")
    assert set(np.unique(masks)) == {0, 255} and len(masks) == 2
    assert len(picture_of(comfyui, run, workflow, "The chosen layers and steps")) == 2


def test_masks_and_the_viewer_follow_what_moves_in_a_video(comfyui: Client, infos: dict[str, Any]) -> None:
    if not (comfyui.server.comfyui / "comfy" / "ldm" / "cogvideo").is_dir():
        pytest.skip("this ComfyUI has no CogVideoX")
    workflow = example("20 Concepts in a video")
    graph = to_graph(workflow, infos)
    number = str(next(node["id"] for node in workflow["nodes"] if node["type"] == "ConceptHeatmapViewer"))
    graph.as_prompt()[number]["inputs"]["concepts"] = "sun"
    run = comfyui.run(graph)
    (manifest,) = run.outputs[number]["concept_viewer"]
    (picture,) = manifest["pictures"]
    assert len(picture["frames"]) == picture["shape"][3] == FRAMES
    masks = picture_of(comfyui, run, workflow, "A mask for each frame")[..., 0] > 0
    assert len(masks) == len(picture_of(comfyui, run, workflow, "Which concept is where")) == FRAMES
    columns = [np.nonzero(mask)[1].mean() for mask in masks]
    assert columns == sorted(columns) and columns[-1] - columns[0] > masks.shape[2] / 3  # the sun goes to the right


def test_a_prompt_counts_where_the_house_is_and_the_rest_is_kept(comfyui: Client, infos: dict[str, Any]) -> None:
    workflow = example("13 Prompt where it is")
    run = comfyui.run(to_graph(workflow, infos))
    plain, blended, kept = (
        picture_of(comfyui, run, workflow, title)[0].astype(float)
        for title in ("Without the second prompt", "Blended", "The rest is kept")
    )
    mask = picture_of(comfyui, run, workflow, "The mask")[0, ..., 0]
    inside, outside = mask == 255, mask == 0
    assert 0.05 < inside.mean() < 0.3 and outside.mean() > 0.6
    for changed in (blended, kept):
        assert np.abs(changed - plain)[inside].mean() > 3 * CHANGED
    # Latents are equal outside; the decoder's field of view reaches over the border.
    assert np.abs(kept - plain)[outside].mean() < 0.5 < np.abs(blended - plain)[outside].mean()
    redder = (kept - plain)[inside]
    assert redder[:, 0].mean() - redder[:, 1].mean() > CHANGED


def test_layers_and_steps_are_compared_for_four_seeds(comfyui: Client, infos: dict[str, Any]) -> None:
    workflow = example("10 Layers, steps, seeds")
    graph = to_graph(workflow, infos)
    set_everywhere(graph, width=128, height=128)
    run = comfyui.run(graph)
    titles = ("The first layer", "The last layer", "The first steps", "The last steps")
    shown = [picture_of(comfyui, run, workflow, title) for title in titles]
    assert all(pictures.shape == shown[0].shape and len(pictures) == 4 for pictures in shown)
    assert not np.array_equal(shown[0], shown[1]) and not np.array_equal(shown[2], shown[3])
    assert len(picture_of(comfyui, run, workflow, "Every layer, every step")) == 4
    (save,) = (node for node in workflow["nodes"] if node["type"] == "ConceptRecordingSave")
    recording = comfyui.recording(run, Node(str(save["id"])))
    assert recording.batch == 4 and len(recording.steps) == 30 and recording.layers == (0, 1, 2, 3)


def test_a_saved_recording_is_opened_once_its_group_is_not_muted(comfyui: Client, infos: dict[str, Any]) -> None:
    workflow = example("11 Custom sampling, saved and opened")
    run = comfyui.run(to_graph(workflow, infos))
    shown = picture_of(comfyui, run, workflow, "A heatmap for each concept")
    (save,) = (node for node in workflow["nodes"] if node["type"] == "ConceptRecordingSave")
    (file,) = run.outputs[str(save["id"])]["recordings"]
    assert titled(workflow, "From the saved recording").number not in run.outputs

    for node in workflow["nodes"]:
        node["mode"] = 0
        if node["type"] == "ConceptRecordingLoad":
            node["widgets_values"] = [f"{file['subfolder']}/{file['filename']} [output]"]
    for node in workflow["nodes"]:
        if node.get("title") == "Heatmaps of the saved recording":
            node["widgets_values"] = values_of(workflow, "Heatmaps of this run")
    again = comfyui.run(to_graph(workflow, comfyui.object_info()))
    opened = picture_of(comfyui, again, workflow, "From the saved recording")
    other = (np.abs(opened.astype(float) - shown) > 1).mean()  # half precision moves a winner here and there
    assert shown.std() > 20 and other < 0.002


@pytest.mark.parametrize("name", OF_IMAGES)
def test_a_workflow_with_files_runs_on_the_landscape_model(comfyui: Client, infos: dict[str, Any], name: str) -> None:
    """Its graph, at another size and in fewer steps; what the model itself would draw is another matter."""
    workflow = load_workflow(WORKFLOWS[name])
    graph = lend_landscape_model(to_graph(workflow, infos))
    set_everywhere(graph, steps=3, width=256, height=256, megapixels=0.0625)
    reword(graph)
    run = comfyui.run(graph)
    shows = {"PreviewImage", "SaveImage", "MaskPreview"}
    shown = [node for node in workflow["nodes"] if node["type"] in shows]
    assert shown and all(run.outputs[str(node["id"])]["images"] for node in shown)
    if "replace" in name:
        before, after, masks = (picture_of(comfyui, run, workflow, title) for title in ("Before", "After", "The mask"))
        outside = masks[..., 0] == 0
        assert outside.any() and np.array_equal(before[outside], after[outside])


@pytest.mark.parametrize("name", BLUEPRINT_FILES)
def test_a_blueprint_is_offered_and_has_nothing_red(comfyui: Client, infos: dict[str, Any], name: str) -> None:
    offered = json.loads(comfyui.get("/global_subgraphs"))
    ours = [key for key, entry in offered.items() if entry["info"]["node_pack"].endswith(comfyui.server.name)]
    entries = {entry["name"]: entry for entry in (json.loads(comfyui.get(f"/global_subgraphs/{key}")) for key in ours)}
    assert entries.keys() == BLUEPRINT_FILES.keys()
    blueprint = json.loads(entries[name]["data"])
    (node,) = blueprint["nodes"]
    assert node["title"] == name == blueprint["definitions"]["subgraphs"][0]["name"]
    assert complaints(blueprint, infos) == [] and len(blueprint["extra"]["BlueprintSearchAliases"]) > 2


def test_the_blueprint_s_sockets_are_those_it_had_and_more() -> None:
    (node,) = load_workflow(BLUEPRINT_FILES["Text to Image with Concept Mask"])["nodes"]
    assert [socket["type"] for socket in node["outputs"]] == ["IMAGE", "MASK", "IMAGE", "CA_RECORDING"]
    assert [socket["name"] for socket in node["inputs"] if "widget" not in socket] == ["model", "clip", "vae"]


def shown_by(comfyui: Client, infos: dict[str, Any], name: str) -> list[Any]:
    """What comes out of a blueprint's node beside the landscape model, as a user would connect and fill it: arrays of
    images and masks, texts of the rest."""
    blueprint = load_workflow(BLUEPRINT_FILES[name])
    graph = connected(blueprint, infos, TYPED[name])
    shows = [(kind, graph.add(kind, **{name: output})) for kind, name, output in outputs_of(blueprint)]
    run = comfyui.run(graph)
    return [comfyui.text(run, node) if kind == "PreviewAny" else comfyui.images(run, node)[0] for kind, node in shows]


def test_one_node_makes_a_mask_of_an_existing_image(comfyui: Client, infos: dict[str, Any]) -> None:
    scene = draw_scene(3, 256, 256)
    mask, overlay = shown_by(comfyui, infos, "Image to Concept Mask")
    assert mask.shape == (256, 256, 3) and overlay.shape[1] == 256 and overlay.std() > 20
    found, truth = mask[..., 0] > 0, scene.labels == LABELS.index("sky")
    assert (found & truth).sum() / (found | truth).sum() > 0.7


def test_one_node_repaints_where_a_concept_is_and_nothing_else(comfyui: Client, infos: dict[str, Any]) -> None:
    image, mask = shown_by(comfyui, infos, "Edit Where a Concept Is")
    before, inside = np.asarray(draw_scene(3, 256, 256).image), mask[..., 0] > 0
    assert 0.1 < inside.mean() < 0.9
    assert np.array_equal(image[~inside], before[~inside])
    assert np.abs(image[inside].astype(float) - before[inside]).mean() > CHANGED


def test_one_node_paints_a_concept_again_and_the_mask_fades_out(comfyui: Client, infos: dict[str, Any]) -> None:
    image, mask = shown_by(comfyui, infos, "Fix the Concept")
    before, mask = np.asarray(draw_scene(3, 256, 256).image), mask[..., 0]
    inside, outside = mask > 250, mask == 0
    assert inside.mean() > 0.1 and outside.mean() > 0.1 and 0.01 < (~inside & ~outside).mean() < 0.5
    assert barely(image[outside], before[outside])
    assert np.abs(image[inside].astype(float) - before[inside]).mean() > CHANGED


def test_one_node_has_a_prompt_where_it_is_and_gives_the_unchanged_image(
    comfyui: Client, infos: dict[str, Any]
) -> None:
    image, mask, unchanged = shown_by(comfyui, infos, "Prompt Where It Is")
    inside, outside = mask[..., 0] == 255, mask[..., 0] == 0
    difference = image.astype(float) - unchanged
    assert 0.03 < inside.mean() < 0.5 and np.abs(difference[outside]).mean() < 0.5  # the decoder sees over the border
    assert difference[inside][:, 0].mean() - difference[inside][:, 1].mean() > CHANGED  # redder


def test_one_node_draws_what_was_asked_for_and_says_so(comfyui: Client, infos: dict[str, Any]) -> None:
    image, present, report = shown_by(comfyui, infos, "Check and Re-roll")
    assert image.shape == (192, 192, 3) and image.std() > 20
    assert present.lower() in ("true", "false")
    assert report.splitlines()[0].startswith("red house: ") and "grass: " in report


def test_the_blueprint_draws_masks_and_overlays(comfyui: Client, infos: dict[str, Any]) -> None:
    image, mask, overlay = shown_by(comfyui, infos, "Text to Image with Concept Mask")
    assert image.shape == mask.shape == (192, 256, 3) and image.std() > 20
    assert set(np.unique(mask)) == {0, 255} and overlay.shape[1] == 256
    assert not np.array_equal(overlay[:192], image)


def connected(blueprint: dict[str, Any], infos: dict[str, Any], typed: dict[str, Any]) -> Graph:
    """The blueprint with its sockets linked to the landscape model and an image, and something typed in."""
    (node,) = blueprint["nodes"]
    loader = {"id": 1000, "type": "ConceptAttentionTinyModel", "mode": 0, "inputs": [], "widgets_values": ["tiny"]}
    picture = {"id": 1001, "type": "LoadImage", "mode": 0, "inputs": [], "widgets_values": ["example.png", "image"]}
    sources = {"MODEL": (loader, 0), "CLIP": (loader, 1), "VAE": (loader, 2), "IMAGE": (picture, 0)}
    node["widgets_values"] = [typed[socket["name"]] for socket in node["inputs"] if "widget" in socket]
    for slot, socket in enumerate(node["inputs"]):
        if "widget" not in socket:
            socket["link"] = slot
            source, output = sources[socket["type"]]
            blueprint["links"].append([slot, source["id"], output, node["id"], slot, socket["type"]])
    blueprint["nodes"] += [loader, picture]
    graph = to_graph(blueprint, infos)
    assert not [value for part in graph.as_prompt().values() for value in part["inputs"].values() if value is None]
    return graph


def outputs_of(blueprint: dict[str, Any]) -> list[tuple[str, str, Any]]:
    """A preview's id and input for every output of the blueprint's node, with what comes out there."""
    top = top_level(blueprint)
    node = blueprint["nodes"][0]
    inner = top.enter(node)
    text = ("PreviewAny", "source")
    previews = {"IMAGE": ("PreviewImage", "images"), "MASK": ("MaskPreview", "mask"), "BOOLEAN": text, "STRING": text}
    found = []
    for socket in inner.content["outputs"]:
        if socket["type"] in previews:
            found.append((*previews[socket["type"]], inner.source(socket["linkIds"][0])))
    return found


def test_no_workflow_names_a_file_of_somebody(infos: dict[str, Any]) -> None:
    texts = [file.read_text(encoding="utf-8") for file in [*WORKFLOWS.values(), *BLUEPRINT_FILES.values()]]
    assert not [text for text in texts if "/home/" in text or str(Path.home()) in text]


def test_four_seeds_are_checked_and_the_best_is_finished(comfyui: Client, infos: dict[str, Any]) -> None:
    workflow = example("14 Check and re-roll")
    run = comfyui.run(to_graph(workflow, infos))
    (best,) = (node for node in workflow["nodes"] if node["type"] == "ConceptBestOf")
    (check,) = (node for node in workflow["nodes"] if node["type"] == "ConceptCheck")
    lines = comfyui.text(run, Node(str(best["id"]))).splitlines()
    assert lines[0].endswith("is the best of 4.") and lines[1].startswith(lines[0].partition(" is")[0].lower())
    assert lines[-1] == "Steps not sampled: 60."  # four times 15 of 25
    said = comfyui.text(run, Node(str(check["id"])))
    assert said.startswith("red house: ") and "boat" not in said.splitlines()[0]
    assert picture_of(comfyui, run, workflow, "The best seed").shape == (1, 256, 256, 3)


def test_each_thing_has_a_mask_and_a_crop(comfyui: Client, infos: dict[str, Any]) -> None:
    workflow = example("15 Boxes, crops and SAM3")
    run = comfyui.run(to_graph(workflow, infos))
    masks = picture_of(comfyui, run, workflow, "A mask for each thing")
    crops = comfyui.images(run, titled(workflow, "The crops"))
    assert len(masks) == len(crops) >= 2
    for mask, crop in zip(masks[..., 0] > 0, crops, strict=True):
        rows, columns = np.nonzero(mask.any(axis=1))[0], np.nonzero(mask.any(axis=0))[0]
        assert crop.shape[0] >= rows[-1] - rows[0] + 1 and crop.shape[1] >= columns[-1] - columns[0] + 1


def test_a_training_set_has_pictures_masks_and_captions(comfyui: Client, infos: dict[str, Any]) -> None:
    workflow = example("16 Training set with masks")
    run = comfyui.run(to_graph(workflow, infos))
    pictures = picture_of(comfyui, run, workflow, "The pictures")
    folder = comfyui.server.base / "output" / "datasets" / "boats"
    saved = sorted((folder / "images").glob("*.png"))
    assert len(saved) == len(pictures) == 4
    for picture, file in zip(pictures, saved, strict=True):
        difference = np.asarray(Image.open(file)).astype(int) - picture  # ComfyUI rounds down
        assert difference.min() >= 0 and difference.max() <= 1
        mask = np.asarray(Image.open(folder / "masks" / file.name)) > 127
        assert 0.02 < mask.mean() < 0.6
        assert file.with_suffix(".txt").read_text() == "a boat on water under a sun in the blue sky"
