import json
import os

import numpy as np
import pytest
from PIL import Image, ImageSequence

from concept_attention.files import atomic_write, save_animation, save_image, write_json, write_text


def names(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_file_appears_complete_at_the_end_of_the_block(tmp_path):
    path = tmp_path / "map.png"
    with atomic_write(path) as temporary:
        assert temporary.parent == tmp_path and temporary.suffix == ".png"
        temporary.write_bytes(b"half")
        assert not path.exists()
        temporary.write_bytes(b"whole")
    assert path.read_bytes() == b"whole" and names(tmp_path) == ["map.png"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("existed", [False, True])
def test_an_interruption_leaves_what_was_there_and_nothing_else(tmp_path, error, existed):
    path = tmp_path / "map.png"
    if existed:
        path.write_bytes(b"before")
    with pytest.raises(error), atomic_write(path) as temporary:
        temporary.write_bytes(b"half")
        raise error
    assert names(tmp_path) == (["map.png"] if existed else [])
    assert not existed or path.read_bytes() == b"before"


def test_an_interruption_before_anything_is_written_is_passed_on(tmp_path):
    with pytest.raises(KeyboardInterrupt), atomic_write(tmp_path / "map.png"):
        raise KeyboardInterrupt
    assert names(tmp_path) == []


def test_a_target_that_cannot_be_replaced_leaves_no_temporary_file(tmp_path):
    (tmp_path / "map.png").mkdir()
    with pytest.raises(OSError), atomic_write(tmp_path / "map.png") as temporary:
        temporary.write_bytes(b"whole")
    assert names(tmp_path) == ["map.png"]


def test_two_writers_of_one_file_do_not_meet(tmp_path):
    path = tmp_path / "map.png"
    with atomic_write(path) as first, atomic_write(path) as second:
        assert first != second
        first.write_bytes(b"first")
        second.write_bytes(b"second")
    assert path.read_bytes() == b"first" and names(tmp_path) == ["map.png"]


@pytest.mark.parametrize("suffix", [".png", ".safetensors", ""])
def test_what_a_killed_process_left_is_removed_by_a_later_write(tmp_path, suffix):
    with pytest.raises(KeyboardInterrupt), atomic_write(tmp_path / f"a{suffix}") as killed:
        raise KeyboardInterrupt
    others = [f".a.concept-attention{suffix}", f".{'0' * 12}{suffix}x", f"{killed.name[1:]}"]
    for name in [killed.name, *others]:
        (tmp_path / name).write_bytes(b"half")
        os.utime(tmp_path / name, (1e9, 1e9))
    with atomic_write(tmp_path / "b.txt") as busy:
        busy.write_bytes(b"of another process that is still writing")
        write_text("whole", tmp_path / "c.txt")
        assert names(tmp_path) == sorted([busy.name, "c.txt", *others])


@pytest.mark.skipif(os.name == "nt", reason="permissions of POSIX")
def test_the_file_has_the_permissions_of_any_new_file(tmp_path):
    (tmp_path / "plain").write_text("")
    write_text("", tmp_path / "atomic")
    assert (tmp_path / "atomic").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_long_names_fit(tmp_path):
    write_text("x", tmp_path / ("n" * 250 + ".txt"))


def test_text_is_utf8_with_its_own_line_ends(tmp_path):
    write_text("草原\nsky\n", tmp_path / "a.txt")
    assert (tmp_path / "a.txt").read_bytes() == "草原\nsky\n".encode()


def test_json_is_readable_and_strict(tmp_path):
    write_json({"草原": [1, 0.5, None]}, tmp_path / "a.json")
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert json.loads(text) == {"草原": [1, 0.5, None]} and "草原" in text and text.endswith("}\n")
    with pytest.raises(ValueError):
        write_json({"a": float("nan")}, tmp_path / "b.json")
    assert names(tmp_path) == ["a.json"]


def test_images_take_the_format_of_the_suffix(tmp_path):
    image = Image.fromarray(np.arange(48, dtype=np.uint8).reshape(4, 4, 3))
    save_image(image, tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as read:
        assert read.format == "PNG" and np.array_equal(np.asarray(read), np.asarray(image))
    with pytest.raises(ValueError):
        save_image(image, tmp_path / "a.unknown")
    assert names(tmp_path) == ["a.png"]


def test_an_animation_shows_every_image_for_its_time(tmp_path):
    images = [Image.new("RGB", (8, 6), (level, 0, 0)) for level in (0, 120, 120, 240)]
    save_animation(images, tmp_path / "a.gif", 10.0)
    with Image.open(tmp_path / "a.gif") as read:
        assert (read.size, read.info["loop"]) == ((8, 6), 0)
        shown = [
            (frame.convert("RGB").getpixel((0, 0))[0], frame.info["duration"]) for frame in ImageSequence.Iterator(read)
        ]
    assert shown == [(0, 100), (120, 200), (240, 100)]  # equal ones are one that lasts
    assert names(tmp_path) == ["a.gif"]
