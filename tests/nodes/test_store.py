"""Saving and loading recordings inside ComfyUI's folders, and refusing every path that leads out of them."""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path
from typing import Any

import pytest
import torch

from .conftest import Pack


def save(pack: Pack, recording: Any, prefix: str = "recordings/test", **options: Any) -> dict[str, Any]:
    """Save, and return what the node reports."""
    ui: dict[str, Any] = pack.run("ConceptRecordingSave", recording=recording, filename_prefix=prefix, **options).ui
    return ui


def choices(pack: Pack) -> list[str]:
    options: list[str] = pack.nodes["ConceptRecordingLoad"].INPUT_TYPES()["required"]["file"][1]["options"]
    return options


def test_a_recording_comes_back_as_it_was(pack: Pack, recording: Any, folders: Path) -> None:
    ui = save(pack, recording)
    assert ui["text"] == ["Saved as recordings/test_00001_.recording.safetensors [output]"]
    place = {"filename": "test_00001_.recording.safetensors", "subfolder": "recordings", "type": "output"}
    assert ui["recordings"] == [place]
    assert choices(pack) == ["recordings/test_00001_.recording.safetensors [output]"]
    output = pack.run("ConceptRecordingLoad", file=choices(pack)[0])
    loaded = output[0]
    assert torch.equal(loaded.scores, recording.scores) and torch.equal(loaded.norms, recording.norms)
    assert loaded.concepts == recording.concepts and loaded.metadata == recording.metadata
    assert pack.text(output).startswith("4 of 4 steps recorded")


def test_files_are_numbered_and_listed_newest_first_after_the_input_folder(
    pack: Pack, recording: Any, folders: Path
) -> None:
    for _ in range(2):
        save(pack, recording)
    save(pack, recording, "top")
    (folders / "input" / "deep").mkdir()
    for name in (
        "b.recording.safetensors",
        "a.recording.safetensors",
        "deep/recording.safetensors",
        "model.safetensors",
    ):
        (folders / "input" / name).write_bytes(b"")
    for age, path in enumerate(sorted((folders / "output").rglob("*.safetensors"))):
        os.utime(path, (1000 - age, 1000 - age))
    assert choices(pack) == [
        "a.recording.safetensors",
        "b.recording.safetensors",
        "deep/recording.safetensors",
        "recordings/test_00001_.recording.safetensors [output]",
        "recordings/test_00002_.recording.safetensors [output]",
        "top_00001_.recording.safetensors [output]",
    ]


def test_hidden_files_are_not_listed(pack: Pack, recording: Any, folders: Path) -> None:
    save(pack, recording, "shown")
    for folder in ("input", "output"):
        for name in (".recording.safetensors", ".a.recording.safetensors", "._shown_00001_.recording.safetensors"):
            (folders / folder / name).write_bytes(b"")
    assert choices(pack) == ["shown_00001_.recording.safetensors [output]"]


def test_float16_is_saved_on_request(pack: Pack, recording: Any, folders: Path) -> None:
    save(pack, recording, "half", float16=True)
    loaded = pack.run("ConceptRecordingLoad", file="half_00001_.recording.safetensors [output]")[0]
    assert loaded.scores.dtype == torch.float16 and torch.allclose(loaded.at().scores, recording.scores, atol=0.1)


def test_dates_in_the_prefix_are_filled_in(pack: Pack, recording: Any, folders: Path) -> None:
    (saved,) = save(pack, recording, "%year%/map")["recordings"]
    assert saved["subfolder"].isdigit() and (folders / "output" / saved["subfolder"] / saved["filename"]).is_file()


@pytest.mark.parametrize(
    ("prefix", "words"),
    [
        ("../outside", "leads out of the output folder"),
        ("a/../../outside", "leads out of the output folder"),
        ("/outside", "leads out of the output folder"),
        ("linked/outside", "leads out of the output folder"),
        ("bad\0name", "leads out of the output folder"),
        ("", "has no name"),
        ("  ", "has no name"),
        ("folder/", "has no name"),
        ("..", "has no name"),
        ("a\\..\\..\\outside", "leads out of the output folder"),
        ("folder\\", "has no name"),
        (".hidden", "begins with a dot, which hides the file"),
        ("recordings/.hidden", "begins with a dot"),
        ("recordings\\.hidden", "begins with a dot"),
        ("what*?", "has characters that not every system allows"),
        ("a:b", "has characters that not every system allows"),
        ("a/line\nbreak/x", "has characters that not every system allows"),
        ("half \ud83d", r'"half \\ud83d"'),
        ("byte \udc80", r'"byte \\udc80" has characters'),
        ("nul", "has the part nul, which Windows keeps for a device"),
        ("Con.old/x", "has the part Con.old"),
        ("folder./x", "a folder whose name ends in a dot"),
        ("x" * 240, "has a part longer than 180 bytes"),
        ("草" * 61 + "/x", "has a part longer than 180 bytes"),
    ],
)
def test_nothing_is_written_outside_of_the_output_folder(
    pack: Pack, recording: Any, folders: Path, prefix: str, words: str
) -> None:
    (folders / "elsewhere").mkdir()
    (folders / "output" / "linked").symlink_to(folders / "elsewhere")
    with pytest.raises(ValueError, match=words) as caught:
        save(pack, recording, prefix)
    assert str(caught.value).encode() and "\n" not in str(caught.value)
    assert not list(folders.rglob("*.safetensors"))


@pytest.mark.parametrize("prefix", ["x" * 180, "%year%-%month%-%day%/" + "草" * 60, "a\\b", "./a", "e.g. nul/草 原"])
def test_unusual_names_are_written_and_listed(pack: Pack, recording: Any, folders: Path, prefix: str) -> None:
    (saved,) = save(pack, recording, prefix)["recordings"]
    assert "\\" not in saved["filename"] and (folders / "output" / saved["subfolder"] / saved["filename"]).is_file()
    assert choices(pack) == [f"{saved['subfolder']}/{saved['filename']} [output]".lstrip("./")]


def validate(pack: Pack, name: str) -> Any:
    return pack.nodes["ConceptRecordingLoad"].validate_inputs(file=name)


@pytest.mark.parametrize(
    "name",
    [
        "../secret.recording.safetensors",
        "../secret.recording.safetensors [output]",
        "../input/../secret.recording.safetensors",
        "linked.recording.safetensors",
        "linked/secret.recording.safetensors",
        "circle.recording.safetensors",
        "bad\0.recording.safetensors",
        " [output]",
    ],
)
def test_nothing_is_read_outside_of_the_folders(pack: Pack, recording: Any, folders: Path, name: str) -> None:
    secret = folders / "secret.recording.safetensors"
    pack.module("concept_attention.recording.file").save_recording(recording, secret)
    (folders / "elsewhere").mkdir()
    secret.rename(folders / "elsewhere" / secret.name)
    secret.symlink_to(folders / "elsewhere" / secret.name)
    (folders / "input" / "linked.recording.safetensors").symlink_to(secret)
    (folders / "input" / "linked").symlink_to(folders / "elsewhere")
    (folders / "input" / "circle.recording.safetensors").symlink_to(folders / "input" / "circle.recording.safetensors")
    assert choices(pack) == []
    assert "leads out of the" in str(validate(pack, name))
    with pytest.raises(ValueError, match="leads out of the"):
        pack.run("ConceptRecordingLoad", file=name)


def test_an_absolute_path_is_refused(pack: Pack, recording: Any, folders: Path) -> None:
    secret = folders / "secret.recording.safetensors"
    pack.module("concept_attention.recording.file").save_recording(recording, secret)
    assert "leads out of the input folder" in str(validate(pack, str(secret)))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("gone.recording.safetensors", 'There is no recording "gone.recording.safetensors" in the input folder.'),
        ("gone.recording.safetensors [output]", "in the output folder. Save one with Save Concept Recording"),
        ("model.safetensors", "is not the name of a recording"),
    ],
)
def test_a_file_that_is_no_recording_is_refused_before_anything_runs(
    pack: Pack, folders: Path, name: str, words: str
) -> None:
    (folders / "input" / "model.safetensors").write_bytes(b"")
    assert words in str(validate(pack, name))


def test_a_name_from_another_node_is_looked_at_when_it_is_known(pack: Pack, folders: Path) -> None:
    node = pack.nodes["ConceptRecordingLoad"]
    assert node.validate_inputs() is True
    assert node.fingerprint_inputs() != node.fingerprint_inputs()


@pytest.mark.parametrize("mark", ["", " [input]"])
def test_a_recording_that_was_brought_along_is_found_in_the_input_folder(
    pack: Pack, recording: Any, folders: Path, mark: str
) -> None:
    pack.module("concept_attention.recording.file").save_recording(recording, folders / "input/recording.safetensors")
    assert choices(pack) == ["recording.safetensors"]
    name = f"recording.safetensors{mark}"
    assert validate(pack, name) is True
    assert torch.equal(pack.run("ConceptRecordingLoad", file=name)[0].scores, recording.scores)


def test_a_changed_file_is_read_again(pack: Pack, recording: Any, folders: Path) -> None:
    node, name = pack.nodes["ConceptRecordingLoad"], "test_00001_.recording.safetensors [output]"
    save(pack, recording, "test")
    path = folders / "output" / "test_00001_.recording.safetensors"
    before = node.fingerprint_inputs(file=name)
    assert node.fingerprint_inputs(file=name) == before
    os.utime(path, (1, 1))
    assert node.fingerprint_inputs(file=name) != before


def header(text: bytes, body: bytes = b"") -> bytes:
    return struct.pack("<Q", len(text)) + text + body


def recording_header(**changes: str) -> bytes:
    named = {"format": "concept-attention-recording", "version": "1", "recording": "{}", **changes}
    return header(json.dumps({"__metadata__": named}).encode())


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "cut short"),
        (b"\xff" * 64, "cut short"),
        (b"PK\x03\x04" * 100, "cut short, or of another format"),
        (header(b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}', b"0000"), 'its format is "unknown"'),
        (recording_header(version="2"), "If it is newer, update ConceptAttention."),
        (recording_header(), "its description must have exactly the fields"),
        (header(b'{"scores":{"dtype":"F32","shape":[99999999999],"data_offsets":[0,399999999996]}}'), "cannot|can be"),
    ],
)
def test_files_that_are_no_recordings_are_refused_with_the_reason(
    pack: Pack, folders: Path, content: bytes, words: str
) -> None:
    (folders / "input" / "bad.recording.safetensors").write_bytes(content)
    with pytest.raises(ValueError, match=f"bad.recording.safetensors is not a recording.*({words})"):
        pack.run("ConceptRecordingLoad", file="bad.recording.safetensors")


def test_a_truncated_recording_is_refused(pack: Pack, recording: Any, folders: Path) -> None:
    save(pack, recording, "cut")
    path = folders / "output" / "cut_00001_.recording.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match="is not a recording that can be read"):
        pack.run("ConceptRecordingLoad", file="cut_00001_.recording.safetensors [output]")
