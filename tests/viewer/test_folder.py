"""The viewer's folder: one file per content, whole or not at all, and a bound on them all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from concept_attention.viewer.folder import ViewerFolder


def put(folder: ViewerFolder, content: bytes) -> str:
    return folder.put(content, ".bin", lambda path: path.write_bytes(content))


def age(folder: ViewerFolder, *names: str) -> None:
    """Give files ages in this order, the first being the oldest."""
    for index, name in enumerate(names):
        os.utime(folder.path / name, ns=(10**9 * (index + 1),) * 2)


def files(folder: ViewerFolder) -> set[str]:
    return {path.name for path in folder.path.iterdir()} - {"generation"}


def test_the_same_content_is_the_same_file_written_once(tmp_path: Path) -> None:
    folder = ViewerFolder(tmp_path / "deep" / "er")
    name = put(folder, b"numbers")
    assert name.endswith(".bin") and (folder.path / name).read_bytes() == b"numbers"
    assert folder.put(b"numbers", ".bin", lambda path: pytest.fail("written again")) == name
    assert put(folder, b"others") != name and len(files(folder)) == 2


def test_a_file_that_is_asked_for_again_is_new_again(tmp_path: Path) -> None:
    folder = ViewerFolder(tmp_path, limit=8)
    old, newer = put(folder, b"1234"), put(folder, b"5678")
    age(folder, old, newer)
    put(folder, b"1234")
    folder.tidy({put(folder, b"9abc")})
    assert old in files(folder) and newer not in files(folder)


def test_an_interruption_while_writing_leaves_nothing(tmp_path: Path) -> None:
    folder = ViewerFolder(tmp_path)

    def write(path: Path) -> None:
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        folder.put(b"whole", ".bin", write)
    assert files(folder) == set()


def test_the_oldest_files_go_when_there_are_too_many(tmp_path: Path) -> None:
    folder = ViewerFolder(tmp_path, limit=4000 + 300)  # and the note of the generation
    folder.generation()
    names = [put(folder, bytes([index]) * 1000) for index in range(6)]
    age(folder, *names)
    folder.tidy({names[0]})
    assert files(folder) == {names[0], *names[3:]}
    folder.tidy(set())
    assert len(files(folder)) == 4


def test_files_of_this_run_stay_even_beyond_the_bound(tmp_path: Path) -> None:
    folder = ViewerFolder(tmp_path, limit=10)
    names = {put(folder, bytes([index]) * 25) for index in range(3)}
    stray = tmp_path / ".interrupted.bin"
    stray.write_bytes(b"x")
    folder.tidy(names)
    assert files(folder) == names


def test_the_generation_changes_only_when_something_is_missing(tmp_path: Path) -> None:
    folder = ViewerFolder(tmp_path / "new", limit=60)
    first = folder.generation()
    assert first and folder.generation() == first and ViewerFolder(tmp_path / "new").generation() == first
    old = put(folder, b"a" * 20)
    folder.tidy({old})
    assert folder.generation() == first
    put(folder, b"b" * 20)
    folder.tidy({put(folder, b"b" * 20)})
    second = folder.generation()
    assert old not in files(folder) and second != first and folder.generation() == second
    (folder.path / put(folder, b"c" * 20)).unlink()
    assert folder.generation() == second  # it was never counted on
    (folder.path / put(folder, b"b" * 20)).unlink()
    third = folder.generation()
    assert third not in (first, second) and folder.generation() == third  # somebody removed a file
    for path in folder.path.iterdir():
        path.unlink()
    assert folder.generation() not in (first, second, third)  # or emptied the folder
