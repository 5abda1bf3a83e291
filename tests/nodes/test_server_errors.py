"""Bad input in a running ComfyUI: the message, and the node that it is reported for."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ..support.server.client import Client, NodeError, Refused
from ..support.server.landscape import Landscape


def no_concepts(start: Landscape) -> None:
    start.graph.set(start.encoded, concepts=" , ")
    start.recorded()


def a_layer_that_does_not_exist(start: Landscape) -> None:
    start.graph.add("PreviewImage", images=start.decode(start.sample(start.patch(layers="1,99")[0])[0])[0])


def a_range_without_steps(start: Landscape) -> None:
    patched = start.patch(start_percent=0.5, end_percent=0.5)
    start.graph.add("PreviewImage", images=start.decode(start.sample(patched[0])[0])[0])


def a_latent_that_no_patched_model_sampled(start: Landscape) -> None:
    latent = start.sample(start.model, seed=4242)[0]  # of no other test: a recording is found by what the latent holds
    start.save_recording(start.graph.add("ConceptAttentionCollect", latent=latent)[0])


def a_concept_that_was_not_recorded(start: Landscape) -> None:
    mask(start, "mountain")


def a_model_patched_twice(start: Landscape) -> None:
    twice = start.graph.add("ConceptAttentionPatchModel", model=start.patch()[0], concepts=start.encoded[0])
    start.graph.add("PreviewImage", images=start.decode(start.sample(twice[0])[0])[0])


def a_picture_of_another_shape(start: Landscape) -> None:
    recording = start.sample(start.model, "ConceptAttentionKSampler", concepts=start.encoded[0])[1]
    heatmaps = start.graph.add("ConceptHeatmaps", recording=recording)
    wide = start.graph.add("EmptyImage", width=256, height=128, batch_size=1, color=0)
    drawn = start.graph.add("ConceptHeatmapOverlay", image=wide[0], heatmaps=heatmaps[0], layout="grid")
    start.graph.add("PreviewImage", images=drawn[0])


def a_file_name_that_leaves_the_folder(start: Landscape) -> None:
    recording = start.sample(start.model, "ConceptAttentionKSampler", concepts=start.encoded[0])[1]
    start.graph.add("ConceptRecordingSave", recording=recording, filename_prefix="../../outside")


def mask(start: Landscape, name: str) -> None:
    recording = start.sample(start.model, "ConceptAttentionKSampler", concepts=start.encoded[0])[1]
    heatmaps = start.graph.add("ConceptHeatmaps", recording=recording)
    found = start.graph.add("ConceptHeatmapToMask", heatmaps=heatmaps[0], concepts=name)
    start.graph.add("PreviewImage", images=start.graph.add("MaskToImage", mask=found[0])[0])


CASES: list[tuple[Callable[[Landscape], None], str, str]] = [
    (no_concepts, "ConceptEncode", "concept"),
    (a_layer_that_does_not_exist, "", "99"),
    (a_range_without_steps, "", "step"),
    (a_latent_that_no_patched_model_sampled, "ConceptAttentionCollect", "patched"),
    (a_concept_that_was_not_recorded, "ConceptHeatmapToMask", "mountain.*house, sun, sky, grass"),
    (a_model_patched_twice, "ConceptAttentionPatchModel", "already"),
    (a_picture_of_another_shape, "ConceptHeatmapOverlay", "256 x 128|256x128"),
    (a_file_name_that_leaves_the_folder, "ConceptRecordingSave", "leads out of the output folder"),
]


@pytest.mark.parametrize(("build", "node", "words"), CASES, ids=lambda value: getattr(value, "__name__", ""))
def test_bad_input_is_explained(comfyui: Client, build: Callable[[Landscape], None], node: str, words: str) -> None:
    start = Landscape()
    build(start)
    with pytest.raises(NodeError, match=f"(?s)^{node}.*{words}") as caught:
        comfyui.run(start.graph)
    assert caught.value.kind.rpartition(".")[2] == "UserError"
    message = caught.value.message
    assert message.endswith(".") and "\n" not in message and len(message) < 400, message


HALF = "\ud83d"  # of an emoji: no log and no file can be written with it


def half_in_layers(start: Landscape) -> None:
    start.graph.add("PreviewImage", images=start.decode(start.sample(start.patch(layers=HALF)[0])[0])[0])


def half_in_steps(start: Landscape) -> None:
    recording = start.sample(start.model, "ConceptAttentionKSampler", concepts=start.encoded[0])[1]
    heatmaps = start.graph.add("ConceptHeatmaps", recording=recording, steps=HALF)
    found = start.graph.add("ConceptHeatmapToMask", heatmaps=heatmaps[0])
    start.graph.add("PreviewImage", images=start.graph.add("MaskToImage", mask=found[0])[0])


def half_in_live_preview(start: Landscape) -> None:
    start.graph.add("PreviewImage", images=start.decode(start.sample(start.patch(live_preview=HALF)[0])[0])[0])


def half_in_a_file_name(start: Landscape) -> None:
    recording = start.sample(start.model, "ConceptAttentionKSampler", concepts=start.encoded[0])[1]
    start.graph.add("ConceptRecordingSave", recording=recording, filename_prefix=HALF)


def half_beside_an_empty_concept(start: Landscape) -> None:
    start.graph.set(start.encoded, concepts=f"sky,,{HALF * 20_000}")
    start.recorded()


def half_in_a_phrase(start: Landscape) -> None:
    start.graph.set(start.encoded, concepts=f"sky: {HALF}")
    start.recorded()


HALVES = [
    half_in_layers,
    half_in_steps,
    half_in_live_preview,
    half_in_a_file_name,
    half_beside_an_empty_concept,
    half_in_a_phrase,
]


@pytest.mark.parametrize("build", HALVES, ids=lambda build: build.__name__)
def test_half_a_character_is_explained_and_the_queue_goes_on(
    comfyui: Client, build: Callable[[Landscape], None]
) -> None:
    start = Landscape()
    build(start)
    with pytest.raises(NodeError, match=r"\\ud83d") as caught:
        comfyui.run(start.graph)
    assert caught.value.kind.rpartition(".")[2] == "UserError" and len(caught.value.message) < 800
    sound = Landscape()
    _, saved = sound.recorded()
    assert comfyui.recording(comfyui.run(sound.graph), saved).concepts


@pytest.mark.parametrize("name", ["../secret.safetensors", "missing.recording.safetensors", "picture.png"])
def test_a_recording_that_is_not_there_is_refused_before_anything_runs(comfyui: Client, name: str) -> None:
    start = Landscape()
    loaded = start.graph.add("ConceptRecordingLoad", file=name)
    start.save_recording(loaded[0])
    with pytest.raises(Refused, match="ConceptRecordingLoad: .*(leads out of|no recording|not the name|not in)"):
        comfyui.run(start.graph)


@pytest.mark.parametrize("content", [b"", b"{}", b"\x08\0\0\0\0\0\0\0{}      ", b"PK\x03\x04" * 100])
def test_a_damaged_recording_is_an_error_that_names_the_file(comfyui: Client, content: bytes) -> None:
    (comfyui.server.base / "input" / "damaged.recording.safetensors").write_bytes(content)
    start = Landscape()
    start.save_recording(start.graph.add("ConceptRecordingLoad", file="damaged.recording.safetensors")[0])
    with pytest.raises(NodeError, match="ConceptRecordingLoad: .*damaged.recording.safetensors") as caught:
        comfyui.run(start.graph)
    assert caught.value.kind.rpartition(".")[2] == "UserError"


def test_a_node_without_its_input_is_refused(comfyui: Client) -> None:
    graph = Landscape().graph
    graph.add("ConceptRecordingSave", filename_prefix="x")
    with pytest.raises(Refused, match="ConceptRecordingSave: Required input is missing: recording"):
        comfyui.run(graph)
