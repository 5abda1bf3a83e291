import json
import math
import os
import pickle
import struct
from dataclasses import fields

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from concept_attention.concepts import Concept
from concept_attention.errors import UserError
from concept_attention.recording import file as recording_file
from concept_attention.recording.file import load_recording, save_recording
from concept_attention.recording.recording import Recording

from ..support.recordings import small_recording

MIB = 2**20


def make_recording(**changes) -> Recording:
    """A small recording with every optional field and difficult texts."""
    given = {
        "sigmas": (1.0, 1 / 3),
        "covered_size": (40, 50),
        "mode": "cogvideox",
        "concepts": (
            Concept("草原 🌾", "草原: a\\b, c\nd"),
            Concept('"quoted"', "été 🌲"),
            Concept("grass", "grass", "background"),
        ),
        "pad_scores": torch.randn(2, 2, 2, 6, generator=torch.Generator().manual_seed(1)),
        "pad_count": 223,
        "metadata": {"prompt": 'two\nlines "quoted" 草原', "": ""},
    }
    return small_recording(**{**given, **changes})


def assert_same(one: Recording, two: Recording) -> None:
    for field in fields(Recording):
        first, second = getattr(one, field.name), getattr(two, field.name)
        if isinstance(first, torch.Tensor):
            assert torch.equal(first, second) and first.dtype == second.dtype, field.name
        else:
            assert first == second and type(first) is type(second), field.name


@pytest.mark.skipif(os.name == "nt", reason="permissions of POSIX")
def test_a_recording_can_be_read_by_whom_other_files_can(tmp_path):
    path = save_recording(make_recording(), tmp_path / "recording.safetensors")
    (tmp_path / "other").write_text("made like any file")
    assert path.stat().st_mode == (tmp_path / "other").stat().st_mode


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("pads", [False, True])
def test_a_recording_comes_back_as_it_was(tmp_path, dtype, pads):
    recording = make_recording()
    recording = make_recording(
        scores=recording.scores.to(dtype),
        pad_scores=recording.pad_scores.to(dtype) if pads else None,
        pad_count=223 if pads else 0,
    )
    path = tmp_path / "Aufnahme 草原.safetensors"
    assert save_recording(recording, path) == path
    assert_same(load_recording(path), recording)
    assert_same(load_recording(str(path)), recording)
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_tensors_that_are_views_are_saved_as_they_look(tmp_path):
    together = torch.randn(2, 2, 2, 4, 6)
    recording = make_recording(scores=together[:, :, :, :3], pad_scores=together[:, :, :, 3])
    assert_same(load_recording(save_recording(recording, tmp_path / "r.safetensors")), recording)


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 45), (torch.float16, 27)])
def test_the_file_of_a_full_run_fits_in_45_mib_and_in_27_in_float16(tmp_path, dtype, bound):
    recording = make_recording(
        scores=torch.zeros(28, 19, 1, 5, 4096, dtype=dtype),
        offsets=torch.zeros(28, 19, 1, 4096, dtype=dtype) if dtype == torch.float16 else None,
        norms=torch.zeros(28, 19, 1, 5),
        layers=tuple(range(19)),
        layer_count=19,
        default_layers=(15, 16, 17, 18),
        steps=tuple(range(28)),
        sigmas=tuple(1 - step / 28 for step in range(28)),
        grid=(1, 64, 64),
        image_size=(1024, 1024),
        covered_size=None,
        concepts=tuple(Concept(f"concept {index}", "a phrase " * 20) for index in range(5)),
        pad_scores=None,
        pad_count=0,
        metadata={"prompt": "a long prompt " * 300},
    )
    path = save_recording(recording, tmp_path / "r.safetensors")
    assert path.stat().st_size <= bound * MIB


def test_a_loaded_recording_does_not_depend_on_its_file(tmp_path):
    recording = make_recording()
    path = save_recording(recording, tmp_path / "r.safetensors")
    loaded = load_recording(path)
    with path.open("r+b") as file:
        file.write(b"\0" * path.stat().st_size)
    assert_same(loaded, recording)
    save_recording(loaded, path)
    assert_same(load_recording(path), recording)


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_interrupted_save_leaves_the_old_file(tmp_path, monkeypatch, error):
    path = save_recording(make_recording(), tmp_path / "r.safetensors")

    def interrupted(tensors, temporary, metadata):
        temporary.write_bytes(b"half")
        raise error

    monkeypatch.setattr(recording_file, "save_file", interrupted)
    with pytest.raises(error):
        save_recording(make_recording(mode="flux"), path)
    assert load_recording(path).mode == "cogvideox"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_description_too_long_to_be_read_back_is_not_written(tmp_path):
    with pytest.raises(UserError, match="Shorten the metadata"):
        save_recording(make_recording(metadata={"prompt": "草" * 2 * MIB}), tmp_path / "r.safetensors")
    assert list(tmp_path.iterdir()) == []
    recording = make_recording(metadata={"prompt": "\\" * MIB})
    assert_same(load_recording(save_recording(recording, tmp_path / "r.safetensors")), recording)


def refused(path, message: str | None = None) -> None:
    with pytest.raises(UserError, match=message) as error:
        load_recording(path)
    text = str(error.value)
    assert "\n" not in text and str(path) in text and len(text) < 1000


def parts(path) -> tuple[dict, bytes]:
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def write_parts(path, header, data: bytes, length: int | None = None) -> None:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + data)


@pytest.fixture
def saved(tmp_path):
    return save_recording(make_recording(), tmp_path / "r.safetensors")


def test_a_missing_file_is_an_os_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        load_recording(tmp_path / "none.safetensors")
    with pytest.raises(OSError):
        load_recording(tmp_path)


def test_a_file_cut_short_anywhere_is_refused(saved):
    content = saved.read_bytes()
    for length in [*range(0, 40), *range(40, len(content), 61), len(content) - 1]:
        saved.write_bytes(content[:length])
        refused(saved)


def test_a_file_with_something_appended_is_refused(saved):
    saved.write_bytes(saved.read_bytes() + b"\0")
    refused(saved)


def test_files_of_other_formats_are_refused(tmp_path):
    path = tmp_path / "r.safetensors"
    path.write_text("not a recording, but long enough to have a header\n" * 100)
    refused(path)
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "r.png")
    refused(tmp_path / "r.png")
    torch.save({"scores": torch.zeros(2)}, tmp_path / "r.pt")
    refused(tmp_path / "r.pt")
    save_file({"scores": torch.zeros(2), "norms": torch.zeros(2)}, path)
    refused(path, 'format is "unknown"')
    save_file({"scores": torch.zeros(2)}, path, {"format": "pt"})
    refused(path, 'format is "pt", expected "concept-attention-recording"')


def test_a_pickle_is_never_run(tmp_path):
    class Attack:
        def __reduce__(self):
            return (open, (str(tmp_path / "executed"), "w"))

    path = tmp_path / "r.safetensors"
    path.write_bytes(pickle.dumps(Attack()))
    refused(path)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("mode, reading", [("flux", "concept"), ("cross", "cross"), ("gram", "gram")])
def test_the_header_says_what_was_read(tmp_path, mode, reading):
    path = save_recording(small_recording(mode=mode), tmp_path / "r.safetensors")
    header, data = parts(path)
    assert header["__metadata__"]["reading"] == reading == load_recording(path).reading
    other = "gram" if reading == "cross" else "cross"
    header["__metadata__"]["reading"] = other
    write_parts(path, header, data)
    refused(path, f'reading is "{other}", but mode {mode} reads "{reading}"')


def test_files_from_before_there_were_readings_hold_concept_attention(saved):
    header, data = parts(saved)
    del header["__metadata__"]["reading"]
    write_parts(saved, header, data)
    assert load_recording(saved).reading == "concept"


@pytest.mark.parametrize("version", ["2", "10", "0", "", "one", "1.0", "９"])
def test_another_version_is_refused_with_what_to_do(saved, version):
    header, data = parts(saved)
    header["__metadata__"]["version"] = version
    write_parts(saved, header, data)
    refused(saved, f'version is "{version}".*newer, update')


@pytest.mark.parametrize("length", [0, 1, 2**24 + 1, 2**31, 2**32 + 8, 2**62, 2**64 - 1])
def test_a_declared_header_length_is_not_believed(saved, length):
    header, data = parts(saved)
    write_parts(saved, header, data, length)
    refused(saved)


def test_a_long_header_is_refused_before_it_is_parsed(tmp_path):
    path = tmp_path / "r.safetensors"
    write_parts(path, b"{" + b" " * (2**24 + 10) + b"}", b"")
    refused(path, "cut short, or of another format")


@pytest.mark.parametrize(
    "shape",
    [
        [2, 2, 2, 3, 7],
        [2**40],
        [2**62, 4],
        [2**64 - 1, 2**64 - 1],
        [2**70],
        [-1, 2, 2, 3, 6],
        [2, 2, 2, 3, 6.5],
        [0] * 5,
        [1] * 70 + [144],
        [144],
        "144",
    ],
)
def test_declared_shapes_are_not_believed(saved, shape):
    header, data = parts(saved)
    header["scores"]["shape"] = shape
    write_parts(saved, header, data)
    refused(saved)


@pytest.mark.parametrize("elements", [2**40, 2**61])
def test_absurd_sizes_that_agree_with_each_other_are_refused(saved, elements):
    header, _ = parts(saved)
    grid = [1, 2**20, elements // 2**20]
    description = json.loads(header["__metadata__"]["recording"])
    description.update(grid=grid, layers=[0], steps=[0], sigmas=[0.5], concepts=description["concepts"][:1])
    header["__metadata__"]["recording"] = json.dumps(description)
    header["scores"].update(shape=[1, 1, 1, 1, elements], data_offsets=[0, 4 * elements])
    write_parts(saved, header, b"\0" * 64)
    refused(saved)


@pytest.mark.parametrize("shape", [[2**62, 0], [2**61, 2], [2**62, 2**62, 0], [0, 2**63 - 1], [2**31, 2**31]])
@pytest.mark.parametrize("name", ["scores", "norms", "pad_scores"])
def test_shapes_that_torch_cannot_count_are_one_line(saved, name, shape):
    header, data = parts(saved)
    first, last = header[name]["data_offsets"]
    header[name].update(shape=shape, data_offsets=[first, first])
    for other in ("scores", "norms", "pad_scores"):  # the other tensors' bytes still follow one another
        begin, end = header[other]["data_offsets"]
        if begin >= last:
            header[other]["data_offsets"] = [begin - last + first, end - last + first]
    write_parts(saved, header, data[:first] + data[last:])
    refused(saved)


HOSTILE = [
    {"grid": [1, 1, 1], "covered_size": [50_000, 50_000]},
    {"grid": [1, 1, 1], "image_size": [50_000, 50_000]},
    {"grid": [1, 1, 1], "image_size": [8, 8], "covered_size": [8, 2048]},  # a mask of 16384 pixels asks for more
    {"grid": [1, 64, 64], "image_size": [65_536, 65_536]},
    {"grid": [4, 8, 8], "image_size": [8192, 8192], "frame_counts": [1024] * 4},
]


@pytest.mark.parametrize("claims", HOSTILE, ids=str)
def test_a_small_file_cannot_ask_for_gigabytes(tmp_path, claims):
    path = write_claims(tmp_path / "r.safetensors", claims)
    assert path.stat().st_size < 100_000
    refused(path, "pixels|covered_size")


@pytest.mark.parametrize(
    "claims",
    [
        {"grid": [1, 8, 8], "image_size": [10_000, 10_000]},  # a photograph, seen by a small model
        {"grid": [1, 1, 1], "image_size": [8, 8], "covered_size": [16, 16]},  # half a token
        {"grid": [31, 8, 15], "image_size": [1088, 1920], "frame_counts": [1, *[8] * 30]},
    ],
    ids=str,
)
def test_large_pictures_and_videos_of_real_models_are_read(tmp_path, claims):
    recording = load_recording(write_claims(tmp_path / "r.safetensors", claims))
    assert list(recording.image_size) == claims["image_size"] and list(recording.grid) == claims["grid"]


def write_claims(path, claims):
    """A file whose description claims something of its image, with scores of one step, layer and concept."""
    tokens = math.prod(claims["grid"])
    scores, norms = torch.zeros(1, 1, 1, 1, tokens), torch.zeros(1, 1, 1, 1)
    given = {"pad_scores": None, "pad_count": 0, "covered_size": None, "sigmas": (1.0,), "steps": (0,), "layers": (1,)}
    small = make_recording(
        **given, grid=(1, 1, tokens), image_size=(8, 8), scores=scores, norms=norms, concepts=(Concept("a", "a"),)
    )
    header, data = parts(save_recording(small, path))
    description = json.loads(header["__metadata__"]["recording"])
    header["__metadata__"]["recording"] = json.dumps({**description, **claims})
    write_parts(path, header, data)
    return path


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes of POSIX")
def test_a_pipe_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "r.safetensors")
    refused(tmp_path / "r.safetensors", "it is a pipe, expected a file")


@pytest.mark.skipif(os.name == "nt", reason="sparse files of POSIX")
@pytest.mark.parametrize("size", [2**43, 2**62])
def test_a_file_too_large_to_be_mapped_is_one_line(saved, size):
    try:
        os.truncate(saved, size)
    except OSError:
        pytest.skip("this file system has no files of this size")
    refused(saved)


@pytest.mark.skipif(os.name == "nt", reason="limits of POSIX")
def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path):
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (512, before[1]))
    try:
        with pytest.raises(UserError, match=r"^Cannot write .*r.safetensors: [^\n]+\. Make room, or choose") as caught:
            save_recording(make_recording(), tmp_path / "r.safetensors")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "\n" not in str(caught.value) and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("offsets", [[0, 8], [0, 2**63], [2**64 - 1, 0], [-4, 572], [4, 580], [576, 0], [0]])
def test_declared_offsets_are_not_believed(saved, offsets):
    header, data = parts(saved)
    header["scores"]["data_offsets"] = offsets
    write_parts(saved, header, data)
    refused(saved)


@pytest.mark.parametrize("dtype", ["F64", "I32", "BF16", "U8", "BOOL", "C64", "F4", "X", 7, None])
def test_other_dtypes_are_refused(saved, dtype):
    header, data = parts(saved)
    header["scores"]["dtype"] = dtype
    write_parts(saved, header, data)
    refused(saved)


@pytest.mark.parametrize("change", ["scores", "norms", "extra"])
def test_missing_and_unknown_tensors_are_refused(saved, change):
    (header, _), tensors = parts(saved), load_file(saved)
    tensors = {name: tensor.clone() for name, tensor in tensors.items() if name != change}
    if change == "extra":
        tensors["extra"] = torch.zeros(1)
    save_file(tensors, saved, header["__metadata__"])
    refused(saved, "it must hold scores, norms")


def test_numbers_that_are_not_finite_are_refused(saved):
    (header, _), tensors = parts(saved), load_file(saved)
    tensors["scores"][1, 1, 1, 2, 5] = float("nan")
    save_file({name: tensor.clone() for name, tensor in tensors.items()}, saved, header["__metadata__"])
    refused(saved, "scores must be finite")


DESCRIPTIONS = [
    "",
    "null",
    "[]",
    "{}",
    "7",
    '"text"',
    "not json",
    "[" * 100_000,
    '{"a":' * 100_000,
    "9" * 100_000,
    '{"layers": [1, 3]}',
]


@pytest.mark.parametrize("description", DESCRIPTIONS, ids=lambda text: text[:12])
def test_a_description_that_is_none_is_refused(saved, description):
    header, data = parts(saved)
    header["__metadata__"]["recording"] = description
    write_parts(saved, header, data)
    refused(saved)


JUNK = [
    None,
    True,
    -1,
    10**30,
    0.5,
    1e308,
    float("nan"),
    "junk",
    "",
    [],
    {},
    [None],
    [[]],
    [{}],
    ["junk"] * 3,
    [10**400],
    {"junk": 1},
    {"junk": None},
    [["a", 1]],
    [{"name": "a", "text": "a", "role": "concept"}] * 3,
    [{"name": "a", "text": "a", "role": ["concept"]}],
    [{"name": 1, "text": None}],
    [{"name": "a", "text": "a", "extra": 1}],
]
TENSORS = ("scores", "norms", "pad_scores", "offsets", "region_masks")
FIELDS = [field.name for field in fields(Recording) if field.name not in TENSORS]


@pytest.mark.parametrize("name", FIELDS)
def test_junk_in_any_field_is_refused(saved, name):
    header, data = parts(saved)
    original = json.loads(header["__metadata__"]["recording"])
    harmless = {"architecture": ["junk", ""], "metadata": [{}]}
    for junk in JUNK:
        header["__metadata__"]["recording"] = json.dumps({**original, name: junk})
        write_parts(saved, header, data)
        if junk in harmless.get(name, []):
            load_recording(saved)
        else:
            refused(saved)


OPTIONAL = {"covered_size", "frame_counts", "averaged", "regions"}


def test_what_a_recording_does_not_need_leaves_no_trace_in_the_file(tmp_path):
    """Older versions refuse fields they do not know, and their files lack these."""
    recording = make_recording(covered_size=None)
    path = save_recording(recording, tmp_path / "r.safetensors")
    header, _ = parts(path)
    assert not OPTIONAL & json.loads(header["__metadata__"]["recording"]).keys()
    assert_same(load_recording(path), recording)


def test_frames_and_the_mean_over_steps_come_back(tmp_path):
    recording = make_recording(grid=(3, 1, 2), image_size=(16, 32), covered_size=None, frame_counts=(1, 4, 4))
    assert_same(load_recording(save_recording(recording, tmp_path / "r.safetensors")), recording)
    tensors = {name: getattr(recording, name)[:1] for name in ("scores", "norms", "pad_scores")}
    mean = make_recording(**tensors, steps=(4,), sigmas=(0.5,), averaged="share")
    assert_same(load_recording(save_recording(mean, tmp_path / "r.safetensors")), mean)


@pytest.mark.parametrize("name", sorted({*FIELDS} - OPTIONAL))
def test_a_missing_field_is_refused(saved, name):
    header, data = parts(saved)
    description = json.loads(header["__metadata__"]["recording"])
    del description[name]
    header["__metadata__"]["recording"] = json.dumps(description)
    write_parts(saved, header, data)
    refused(saved, "exactly the fields")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_size": [10**9, 10**9], "covered_size": [10**9, 10**9]}, "more than 16777216 for each token"),
        ({"image_size": [9000, 9000], "covered_size": [9000, 9000], "frame_counts": [1024]}, "165888000000 numbers"),
        ({"covered_size": [10**9, 10**9]}, "less than one token"),
        ({"layer_count": 10**15}, "layer_count"),
        ({"pad_count": 10**15}, "pad_count"),
        ({"grid": [10**9, 10**9, 10**9]}, "image_size|covered_size|scores"),
        ({"sigmas": [0.5]}, "sigma"),
        ({"layers": list(range(10_000))}, "layers"),
    ],
)
def test_absurd_or_contradictory_descriptions_are_refused(saved, change, message):
    header, data = parts(saved)
    description = json.loads(header["__metadata__"]["recording"])
    header["__metadata__"]["recording"] = json.dumps({**description, **change})
    write_parts(saved, header, data)
    refused(saved, message)


def test_flipped_bits_load_or_are_refused_but_never_crash(saved):
    content = saved.read_bytes()
    header = struct.unpack("<Q", content[:8])[0] + 8
    rng = np.random.default_rng(0)
    for _ in range(600):
        damaged = bytearray(content)
        for _ in range(rng.choice((1, 3))):
            damaged[rng.integers(header)] ^= 1 << int(rng.integers(8))
        saved.write_bytes(damaged)
        try:
            assert isinstance(load_recording(saved), Recording)
        except ValueError as error:
            assert "\n" not in str(error)


def test_regions_and_their_masks_come_back(tmp_path):
    masks = torch.rand(2, 2, 1, 4, 6, generator=torch.Generator().manual_seed(2))
    recording = make_recording(regions=("house", "tree"), region_masks=masks)
    assert_same(load_recording(save_recording(recording, tmp_path / "r.safetensors")), recording)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"regions": ("house",)}, "go together"),
        ({"regions": ("house", "house"), "region_masks": torch.zeros(2, 2, 1, 4, 6)}, "different texts"),
        ({"regions": ("house",), "region_masks": torch.zeros(1, 3, 1, 4, 6)}, "must have shape"),
        ({"regions": ("house",), "region_masks": torch.full((1, 2, 1, 4, 6), 2.0)}, "0-1"),
    ],
)
def test_regions_that_do_not_fit_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        make_recording(**change)
