"""Images in and out, against pixel values worked out by hand."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, features

from concept_attention.errors import UserError
from concept_attention.images import (
    check_aspect,
    check_image,
    frame_times,
    from_pil,
    load_frames,
    load_image,
    load_transparency,
    to_pil,
)


def _pixel(image: Image.Image) -> list[float]:
    return from_pil(image)[0, 0].tolist()


def _reopened(image: Image.Image, suffix: str, **options: object) -> Image.Image:
    stream = io.BytesIO()
    image.save(stream, suffix, **options)
    return Image.open(io.BytesIO(stream.getvalue()))


def test_levels_survive_the_way_there_and_back() -> None:
    levels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    tensor = from_pil(Image.fromarray(levels))
    assert tensor.dtype == torch.float32 and tensor.shape == (5, 7, 3)
    assert np.array_equal(np.asarray(to_pil(tensor)), levels)


def test_values_are_rounded_and_clamped_to_levels() -> None:
    image = torch.tensor([[[0.5, 1.25, -3.0], [0.4 / 255, 0.6 / 255, 254.6 / 255]]])
    assert np.asarray(to_pil(image)).tolist() == [[[128, 255, 0], [0, 1, 255]]]


def test_a_map_becomes_a_grey_image() -> None:
    image = to_pil(torch.tensor([[0.0, 0.2], [0.6, 1.0]], dtype=torch.float64))
    assert image.mode == "L"
    assert np.asarray(image).tolist() == [[0, 51], [153, 255]]


@pytest.mark.parametrize("alpha", [0, 51, 255])
def test_transparency_is_composited_on_white(alpha: int) -> None:
    share = alpha / 255
    expected = [share * 1.0 + 1 - share, share * 0.4 + 1 - share, share * 0.0 + 1 - share]
    assert _pixel(Image.new("RGBA", (2, 2), (255, 102, 0, alpha))) == pytest.approx(expected, abs=1e-6)


def test_grey_with_transparency_is_composited_on_white() -> None:
    assert _pixel(Image.new("LA", (2, 2), (0, 51))) == pytest.approx([0.8] * 3, abs=1e-6)


def test_the_transparent_colour_of_a_png_becomes_white() -> None:
    image = Image.new("RGB", (2, 1), (10, 20, 30))
    image.putpixel((1, 0), (40, 50, 60))
    pixels = from_pil(_reopened(image, "PNG", transparency=(10, 20, 30)))
    assert pixels[0, 0].tolist() == [1, 1, 1]
    assert pixels[0, 1].tolist() == pytest.approx([40 / 255, 50 / 255, 60 / 255])


def test_sixteen_bits_of_grey_keep_their_precision() -> None:
    values = np.array([[0, 1, 32768, 65535]], dtype=np.uint16)
    expected = [0, 1 / 65535, 32768 / 65535, 1]
    reopened = _reopened(Image.fromarray(values), "PNG")
    for image in (Image.fromarray(values), reopened, Image.fromarray(values.astype(np.int32))):
        pixels = from_pil(image)
        assert pixels.shape == (1, 4, 3)
        assert pixels[0, :, 1].tolist() == pytest.approx(expected, abs=1e-7)


def test_big_endian_sixteen_bit_grey_is_read_right() -> None:
    image = _reopened(Image.frombytes("I;16B", (1, 1), b"\x12\x34"), "TIFF")
    assert _pixel(image)[0] == pytest.approx(0x1234 / 65535, abs=1e-7)


def test_float_grey_is_taken_as_it_is() -> None:
    assert _pixel(Image.fromarray(np.full((1, 1), 0.25, np.float32))) == [0.25] * 3


@pytest.mark.parametrize(
    "values",
    [np.full((1, 1), 255.0, np.float32), np.full((1, 1), 70000, np.int32), np.full((1, 1), -1, np.int32)],
)
def test_deep_grey_outside_its_range_is_refused(values: np.ndarray) -> None:
    with pytest.raises(UserError, match="must hold values from 0 to"):
        from_pil(Image.fromarray(values))


def test_a_palette_is_resolved() -> None:
    image = Image.new("P", (2, 1), 1)
    image.putpalette([0, 0, 0, 255, 102, 51])
    assert _pixel(image) == pytest.approx([1, 0.4, 0.2])


def test_a_palette_with_transparency_is_composited_on_white() -> None:
    image = Image.new("P", (2, 1), 1)
    image.putpalette([0, 0, 0, 255, 102, 51])
    image.putpixel((1, 0), 0)
    pixels = from_pil(_reopened(image, "PNG", transparency=0))
    assert pixels[0, 0].tolist() == pytest.approx([1, 0.4, 0.2])
    assert pixels[0, 1].tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    ("mode", "colour", "expected"),
    [("L", 51, [0.2] * 3), ("1", 1, [1.0] * 3), ("CMYK", (0, 255, 255, 0), [1, 0, 0])],
)
def test_other_modes_become_rgb(mode: str, colour: int | tuple[int, ...], expected: list[float]) -> None:
    assert _pixel(Image.new(mode, (2, 2), colour)) == pytest.approx(expected)


def test_the_cameras_orientation_is_applied() -> None:
    image = Image.new("RGB", (3, 2), "black")
    image.putpixel((0, 0), (255, 255, 255))
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: the stored top left corner is the top right one
    pixels = from_pil(_reopened(image, "PNG", exif=exif))
    assert pixels.shape == (3, 2, 3)
    assert pixels[0, 1].tolist() == [1, 1, 1] and pixels.sum() == 3


def test_a_file_is_read(tmp_path) -> None:
    Image.new("RGBA", (4, 2), (0, 0, 255, 255)).save(tmp_path / "blue.png")
    assert load_image(tmp_path / "blue.png").reshape(-1, 3).unique(dim=0).tolist() == [[0, 0, 1]]


@pytest.mark.parametrize("content", [b"", b"not an image", None])
def test_what_is_not_an_image_is_refused_by_name(tmp_path, content: bytes | None) -> None:
    path = tmp_path / "broken.png"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match="Cannot read .*broken.png"):
        load_image(path)


@pytest.mark.parametrize("suffix", ["PNG", "JPEG", "TIFF"])
def test_a_truncated_image_is_refused(tmp_path, suffix: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(noise).save(stream, suffix)
    path = tmp_path / "cut.img"
    path.write_bytes(stream.getvalue()[: len(stream.getvalue()) // 2])
    with pytest.raises(UserError, match="Cannot read .*cut.img"):
        load_image(path)


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's, about what was damaged
@pytest.mark.parametrize(
    "suffix", ["PNG", "JPEG", "GIF", "PPM", "BMP", "TIFF", "WEBP", "AVIF", "TGA", "ICO", "PCX", "SGI"]
)
def test_damaged_images_are_read_or_refused_by_name(tmp_path, suffix: str) -> None:
    random = np.random.default_rng(0)
    stream = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    try:
        Image.new("RGB", (16, 17), "red").save(stream, suffix, exif=exif)
    except (KeyError, OSError):
        pytest.skip(f"needs Pillow with {suffix}")
    path = tmp_path / "damaged.img"
    for _ in range(200):
        content = bytearray(stream.getvalue())
        for place in random.integers(0, len(content), 3):
            content[place] = random.integers(0, 256)
        path.write_bytes(content)
        try:
            assert load_image(path).shape[-1] == 3
        except UserError as error:
            assert "damaged.img" in str(error) and "\n" not in str(error)


@pytest.mark.parametrize("error", [TypeError("a b"), IndexError(), ZeroDivisionError("x\ny"), RuntimeError("no.")])
def test_whatever_a_reader_of_pillow_raises_is_one_line(tmp_path, monkeypatch, error: Exception) -> None:
    Image.new("RGB", (4, 2)).save(tmp_path / "a.png")

    def fail(image: Image.Image) -> None:
        raise error

    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", fail)
    with pytest.raises(UserError, match=r"^Cannot read .*a.png as an image: [^\n]*\. Check the file\.$"):
        load_image(tmp_path / "a.png")


@pytest.mark.parametrize(("suffix", "options"), [("EPS", {}), ("SPIDER", {}), ("BLP", {}), ("PDF", {})])
def test_formats_that_other_programs_decode_or_few_know_are_no_images(
    tmp_path, monkeypatch, suffix: str, options: dict[str, object]
) -> None:
    monkeypatch.setattr("subprocess.Popen", lambda *_, **__: pytest.fail("another program was started"))
    monkeypatch.setattr(Image, "EXTENSION", dict(Image.EXTENSION))  # Pillow would write SPIDER as any .jpg from here on
    mode = {"SPIDER": "F", "BLP": "P"}.get(suffix, "RGB")
    Image.new(mode, (9, 7)).save(tmp_path / "photo.jpg", suffix, **options)
    with pytest.raises(UserError, match="Cannot read .*photo.jpg: not an image"):
        load_image(tmp_path / "photo.jpg")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes of POSIX")
def test_a_pipe_is_refused_at_once(tmp_path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(UserError, match="pipe.png: not a file, but a pipe"):
        load_image(tmp_path / "pipe.png")


@pytest.mark.parametrize("shape", [(1, 4, 4, 3), (4, 4, 4), (3, 4, 4), (4,), (0, 4, 3)])
def test_another_shape_is_refused_with_what_to_do(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"\(height, width, 3\).*images\[0\]"):
        check_image(torch.zeros(shape))


def test_integers_and_nan_are_refused() -> None:
    with pytest.raises(ValueError, match="torch.uint8.*Divide"):
        check_image(torch.zeros(2, 2, 3, dtype=torch.uint8))
    with pytest.raises(UserError, match="finite"):
        check_image(torch.full((2, 2, 3), float("nan")))


@pytest.mark.parametrize(
    ("image", "maps"),
    [
        ((1000, 1000), (100, 102)),  # 2 %
        ((1000, 1000), (102, 100)),
        ((100, 30), (7, 2)),  # 2.1 tokens, rounded to whole ones
        ((1088, 1920), (9, 16)),
        ((1, 1), (1, 1)),
    ],
)
def test_an_aspect_within_two_percent_or_half_a_token_fits(image: tuple[int, int], maps: tuple[int, int]) -> None:
    check_aspect(image, maps)


@pytest.mark.parametrize(
    ("image", "maps"),
    [((1000, 1000), (100, 103)), ((1000, 1000), (103, 100)), ((1000, 1000), (100, 90)), ((100, 30), (7, 3))],
)
def test_another_aspect_is_refused(image: tuple[int, int], maps: tuple[int, int]) -> None:
    with pytest.raises(UserError, match=f"is {image[1]} x {image[0]} .* are {maps[1]} x {maps[0]}, a different aspect"):
        check_aspect(image, maps)


def test_half_precision_becomes_float32_without_gradient() -> None:
    image = check_image(torch.full((2, 2, 3), 0.5, dtype=torch.bfloat16, requires_grad=True))
    assert image.dtype == torch.float32 and not image.requires_grad


def test_frames_come_from_an_animation_or_from_a_folder_in_the_order_of_its_names(tmp_path: Path) -> None:
    images = [Image.new("RGB", (8, 6), (level, 0, 0)) for level in (0, 102, 255)]
    images[0].save(tmp_path / "moving.gif", save_all=True, append_images=images[1:])
    (tmp_path / "frames").mkdir()
    for number, image in zip((2, 0, 1), (images[2], *images[:2]), strict=True):
        image.save(tmp_path / "frames" / f"{number}.png")
    (tmp_path / "frames" / ".hidden").write_bytes(b"no image")
    for path in (tmp_path / "moving.gif", tmp_path / "frames"):
        found = load_frames(path)
        assert [tuple(one.shape) for one in found] == [(6, 8, 3)] * 3
        assert [float(one[0, 0, 0]) for one in found] == pytest.approx([0, 0.4, 1])
    assert torch.equal(load_image(tmp_path / "moving.gif"), load_frames(tmp_path / "moving.gif")[0])
    (tmp_path / "none").mkdir()
    with pytest.raises(UserError, match=r"^Cannot read .*none: the folder is empty\."):
        load_frames(tmp_path / "none")


@pytest.mark.parametrize("suffix", ["gif", "webp", "avif", "png"])
def test_every_animation_has_its_frames_and_their_times(tmp_path: Path, suffix: str) -> None:
    if not features.check({"webp": "webp", "avif": "avif"}.get(suffix, "zlib")):
        pytest.skip(f"needs Pillow with {suffix}")
    levels = [0, 51, 102, 102, 153, 204, 204, 204, 255]
    images = [Image.new("RGB", (64, 48), (level, 0, 0)) for level in levels]
    options = {"lossless": True} if suffix == "webp" else {"quality": 100} if suffix == "avif" else {}
    path = tmp_path / f"clip.{suffix}"
    images[0].save(path, save_all=True, append_images=images[1:], duration=120, **options)
    found = load_frames(path)
    assert [float(one[20, 30, 0]) * 255 for one in found] == pytest.approx(levels, abs=1.5)
    times = frame_times(path)
    assert min(times) == pytest.approx(0.12) and sum(times) == pytest.approx(9 * 0.12)
    assert torch.equal(load_image(path), found[0])


def test_an_image_shown_instead_of_an_animation_is_no_frame_of_it(tmp_path: Path) -> None:
    still, *moving = (Image.new("RGB", (8, 6), (level, 0, 0)) for level in (255, 0, 102))
    still.save(tmp_path / "a.png", save_all=True, append_images=moving, duration=100, default_image=True)
    assert [round(float(one[0, 0, 0]) * 255) for one in load_frames(tmp_path / "a.png")] == [0, 102]
    assert frame_times(tmp_path / "a.png") == pytest.approx([0.1, 0.1])
    assert float(load_image(tmp_path / "a.png")[0, 0, 0]) == 1


def test_pages_without_a_time_are_a_frame_each(tmp_path: Path) -> None:
    images = [Image.new("RGB", (8, 6), (level, 0, 0)) for level in (0, 102, 102)]
    images[0].save(tmp_path / "a.tiff", save_all=True, append_images=images[1:])
    assert [round(float(one[0, 0, 0]) * 255) for one in load_frames(tmp_path / "a.tiff")] == [0, 102, 102]
    assert frame_times(tmp_path / "a.tiff") == [1, 1, 1]


def test_transparency_is_read_as_a_mask(tmp_path: Path) -> None:
    alpha = np.array([[0, 255, 51], [255, 204, 0]], dtype=np.uint8)
    pixels = np.dstack([np.full((2, 3, 3), 90, dtype=np.uint8), alpha])
    Image.fromarray(pixels).save(tmp_path / "some.png")
    expected = torch.tensor([[1.0, 0.0, 0.8], [0.0, 0.2, 1.0]])
    torch.testing.assert_close(load_transparency(tmp_path / "some.png"), expected)
    Image.new("RGB", (3, 2)).save(tmp_path / "opaque.png")
    assert not load_transparency(tmp_path / "opaque.png").any()
