"""Loading pipelines: what is found under which name, and one clear line for everything that cannot be loaded."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import diffusers
import pytest
import torch

from concept_attention.embedded import COGVIDEOX_FOLDER, FLUX_FOLDER, SD3_FOLDER
from concept_attention.errors import UserError
from concept_attention.hosts.diffusers import loading
from concept_attention.hosts.diffusers.loading import defaults_for, load_pipeline
from concept_attention.hosts.diffusers.pipelines.flux import FluxFamily
from concept_attention.hosts.diffusers.pipelines.request import Defaults, is_tiny, model_name

from ...support.diffusers.own_blocks.catalogue import OWN_BLOCKS
from ...support.diffusers.whole_pipelines import WHOLE


@pytest.fixture
def model_copy(random_model_folder: Path, tmp_path: Path) -> Path:
    """A copy of the random model, to be spoilt."""
    return Path(shutil.copytree(random_model_folder, tmp_path / "model"))


def refused(model: str | Path, message: str, **options: Any) -> None:
    with pytest.raises(UserError, match=message) as error:
        load_pipeline(str(model), **{"device": "cpu", **options})
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 700


def test_a_folder_is_loaded_as_it_was_saved(random_pipeline: Any, random_model_folder: Path) -> None:
    loaded = load_pipeline(str(random_model_folder), device="cpu", dtype="float32")
    expected = random_pipeline.transformer.state_dict()
    found = loaded.transformer.state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert model_name(loaded) == str(random_model_folder) and not is_tiny(loaded)


@pytest.mark.parametrize(
    "dtype, expected",
    [("auto", torch.bfloat16), ("float16", torch.float16), (torch.float16, torch.float16)],
)
def test_the_dtype_is_that_asked_for(
    random_model_folder: Path, dtype: str | torch.dtype, expected: torch.dtype
) -> None:
    loaded = load_pipeline(str(random_model_folder), device="cpu", dtype=dtype)
    assert loaded.transformer.dtype == loaded.vae.dtype == loaded.text_encoder_2.dtype == expected


def test_a_folder_without_an_index_is_refused(tmp_path: Path) -> None:
    refused(tmp_path, r"is no diffusers model: it has no model_index\.json\. Give the folder that has\.$")


def test_a_landscape_model_without_joint_blocks_is_loaded_by_its_name() -> None:
    loaded = load_pipeline("tiny-sd", device="cpu")
    assert (type(loaded).__name__, loaded.unet.dtype) == ("StableDiffusionPipeline", torch.float32)
    assert model_name(loaded) == "tiny-sd" and not is_tiny(loaded)
    assert (defaults_for(loaded).side, defaults_for(loaded).max_tokens, defaults_for(loaded).cfg) == (128, 24, 7.5)


def test_a_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    file.write_bytes(b"")
    refused(file, r"is no diffusers model: it has no model_index\.json")


def test_another_kind_of_pipeline_is_refused(model_copy: Path) -> None:
    index = model_copy / "model_index.json"
    index.write_text(json.dumps({**json.loads(index.read_text()), "_class_name": "StableVideoDiffusionPipeline"}))
    refused(
        model_copy,
        r"holds a StableVideoDiffusionPipeline, expected one of FluxPipeline \(Flux 1\).*\. Choose another",
    )


@pytest.mark.parametrize("content", [b"", b"{", b'["FluxPipeline"]', b"\xff\xfe\x00"])
def test_a_broken_index_is_refused(model_copy: Path, content: bytes) -> None:
    (model_copy / "model_index.json").write_bytes(content)
    refused(model_copy, r"model_index\.json cannot be read: .* Get the model again\.$")


@pytest.mark.parametrize("part", ["transformer", "text_encoder", "text_encoder_2", "vae"])
@pytest.mark.parametrize("spoil", ["truncate", "empty", "remove"])
def test_unreadable_weights_are_refused(model_copy: Path, part: str, spoil: str) -> None:
    (weights,) = (model_copy / part).glob("*.safetensors")
    if spoil == "remove":
        weights.unlink()
    else:
        weights.write_bytes(weights.read_bytes()[: len(weights.read_bytes()) // 2 if spoil == "truncate" else 0])
    refused(model_copy, r"could not be loaded: .* Give `tiny`, a diffusers folder")


@pytest.mark.parametrize("part, size", [("transformer", "num_attention_heads"), ("text_encoder_2", "d_ff")])
def test_weights_of_another_shape_are_refused(model_copy: Path, part: str, size: str) -> None:
    config = model_copy / part / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), size: 2}))
    refused(model_copy, r"could not be loaded: .* Give `tiny`, a diffusers folder")


@pytest.mark.parametrize("name", ["transformer/config.json", "tokenizer_2/tokenizer.json", "scheduler"])
def test_a_missing_part_is_refused(model_copy: Path, name: str) -> None:
    path = model_copy / name
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    refused(model_copy, r"could not be loaded: .* Give `tiny`, a diffusers folder")


@pytest.mark.parametrize(
    "options, message",
    [
        ({"dtype": "int8"}, r"^dtype 'int8' does not exist\. Choose one of auto, float32, float16, bfloat16\.$"),
        ({"offload": "disk"}, r"^offload 'disk' does not exist\. Choose one of none, model, sequential\.$"),
        ({"device": "gpu"}, r"^Device 'gpu' cannot be used: .* Choose auto, cpu, cuda or mps\.$"),
        ({"device": "cuda:99"}, r"^Device 'cuda:99' cannot be used: .* Choose auto, cpu, cuda or mps\.$"),
        ({"device": "meta"}, r"^Device 'meta' cannot be used: it holds shapes and no numbers\. Choose auto, cpu"),
        ({"device": ""}, r"^Device '' cannot be used: .* Choose auto, cpu, cuda or mps\.$"),
    ],
)
def test_options_that_do_not_exist_are_refused_before_anything_is_read(
    random_model_folder: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], message: str
) -> None:
    def read(*args: Any, **kwargs: Any) -> None:
        pytest.fail("the model was read first")

    monkeypatch.setattr(diffusers.DiffusionPipeline, "from_pretrained", read)
    refused(random_model_folder, message, **options)


@pytest.mark.parametrize(
    "offload, method",
    [("none", "to"), ("model", "enable_model_cpu_offload"), ("sequential", "enable_sequential_cpu_offload")],
)
def test_a_model_that_cannot_be_placed_is_refused(
    random_model_folder: Path, monkeypatch: pytest.MonkeyPatch, offload: Any, method: str
) -> None:
    errors: list[Exception] = [ImportError("It needs accelerate.\nInstall it."), torch.cuda.OutOfMemoryError("full")]

    def fail(*args: Any, **kwargs: Any) -> None:
        raise errors.pop(0)

    monkeypatch.setattr(loading, "_check_device", lambda device: None)
    monkeypatch.setattr(diffusers.DiffusionPipeline, method, fail)
    message = r"^The model cannot be put on 'cuda': It needs accelerate\. Choose another `device` or `offload`\.$"
    refused(random_model_folder, message, device="cuda", offload=offload)
    with pytest.raises(torch.cuda.OutOfMemoryError):  # which the command line tells apart
        load_pipeline(str(random_model_folder), "cuda", offload=offload)


@pytest.mark.parametrize("offload", ["model", "sequential"])
def test_on_the_cpu_nothing_is_offloaded(random_model_folder: Path, offload: Any) -> None:
    loaded = load_pipeline(str(random_model_folder), "cpu", offload=offload)
    assert not any(hasattr(module, "_hf_hook") for module in loaded.transformer.modules())
    assert {parameter.device.type for parameter in loaded.transformer.parameters()} == {"cpu"}


def test_names_stand_for_models(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, Any]] = []

    class FluxPipeline:
        def to(self, device: str) -> None:
            pass

    def read(source: str, torch_dtype: Any) -> Any:
        asked.append((source, torch_dtype))
        return FluxPipeline()

    monkeypatch.setattr(diffusers.DiffusionPipeline, "from_pretrained", read)
    monkeypatch.setattr(loading, "fetch_index", lambda model: FLUX_FOLDER / "model_index.json")
    for name in ("tiny", "tiny-sd3", "tiny-cogvideox", "flux-schnell", "flux-dev", "someone/flux-tuned"):
        load_pipeline(name, device="cpu")
    assert asked == [
        (str(FLUX_FOLDER), torch.float32),
        (str(SD3_FOLDER), torch.float32),
        (str(COGVIDEOX_FOLDER), torch.float32),
        ("black-forest-labs/FLUX.1-schnell", torch.bfloat16),
        ("black-forest-labs/FLUX.1-dev", torch.bfloat16),
        ("someone/flux-tuned", torch.bfloat16),
    ]


def test_defaults_follow_the_model(random_pipeline: Any) -> None:
    def a_pipeline(origin: str | None, guidance: bool, longest: int = 512) -> Any:
        config = {"_name_or_path": origin} if origin else {}
        tokenizer = SimpleNamespace(model_max_length=longest)
        transformer = SimpleNamespace(config=SimpleNamespace(guidance_embeds=guidance))
        return SimpleNamespace(config=config, tokenizer_2=tokenizer, transformer=transformer)

    assert FluxFamily().defaults(a_pipeline(str(FLUX_FOLDER), False, 24)).max_tokens == 24
    assert FluxFamily().defaults(a_pipeline("folder", False, 24)).max_tokens == 24
    assert FluxFamily().defaults(a_pipeline(None, False)) == Defaults(1024, 4, 0.0, 1.0, 256)
    assert FluxFamily().defaults(a_pipeline("folder", True)) == Defaults(1024, 28, 3.5, 1.0, 512)
    assert model_name(a_pipeline(str(FLUX_FOLDER), False)) == "tiny"
    assert model_name(random_pipeline) == ""


def test_loading_leaves_the_libraries_logging_as_it_was(
    random_model_folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    def state() -> list[Any]:
        logs = (diffusers_logging, transformers_logging)
        return [(log.get_verbosity(), log.is_progress_bar_enabled()) for log in logs]

    before = state()
    diffusers_logging.disable_progress_bar()
    try:
        quiet = state()
        load_pipeline(str(random_model_folder), device="cpu")
        assert state() == quiet
    finally:
        if before[0][1]:
            diffusers_logging.enable_progress_bar()
    assert capfd.readouterr() == ("", "")


@pytest.fixture(scope="module")
def modular_folders(random_pipeline: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders of whole modular pipelines, but for the parts that a prompt alone does not need."""
    made: dict[str, Path] = {}
    for name, blocks in (("Flux 3", diffusers.Flux3AutoBlocks), ("MiniMax-H3", diffusers.MiniMaxH3Blocks)):
        parts = WHOLE[name].build(random_pipeline).components
        tokenizer = getattr(parts["tokenizer"], "tokenizer", parts["tokenizer"])  # a processor needs more packages
        parts |= {one: tokenizer for one in ("tokenizer", "processor") if one in parts}
        pipeline = blocks().init_pipeline()
        pipeline.update_components(**{one: part for one, part in parts.items() if part is not None})
        made[name] = tmp_path_factory.mktemp("modular")
        pipeline.save_pretrained(str(made[name]), overwrite_modular_index=True)
    return made


@pytest.mark.parametrize("name, missing", [("Flux 3", "prompt_upsampler"), ("MiniMax-H3", "transformer_ref")])
def test_of_a_modular_model_what_a_prompt_needs_is_loaded(
    modular_folders: dict[str, Path], name: str, missing: str
) -> None:
    folder = modular_folders[name]
    assert missing in json.loads((folder / "modular_model_index.json").read_text())
    loaded = load_pipeline(str(folder), device="cpu", dtype="float32")
    assert model_name(loaded) == str(folder)
    assert missing not in loaded.components and None not in loaded.components.values()
    expected = OWN_BLOCKS[name].make().state_dict()
    found = loaded.transformer.state_dict()
    assert all(torch.equal(found[one], expected[one]) for one in expected)
    assert load_pipeline(str(folder), device="cpu").transformer.dtype == torch.bfloat16
    loaded.set_progress_bar_config(disable=True)
    assert loaded._blocks.sub_blocks["denoise.denoise"]._progress_bar_config == {"disable": True}


def test_what_a_modular_model_lacks_is_said(modular_folders: dict[str, Path], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(modular_folders["MiniMax-H3"], tmp_path / "model"))
    shutil.rmtree(folder / "audio_vae")
    index = folder / "modular_model_index.json"  # says where each part is
    index.write_text(index.read_text().replace(str(modular_folders["MiniMax-H3"]), str(folder)))
    refused(folder, r"could not be loaded: .* Give `tiny`, a diffusers folder")


def test_a_modular_model_is_offloaded_part_by_part(
    modular_folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, set[str]]] = []

    def offload(manager: Any, device: str) -> None:
        seen.append((device, {name.rsplit("_", 1)[0] for name in manager.components}))

    monkeypatch.setattr(loading, "_check_device", lambda device: None)
    monkeypatch.setattr(diffusers.ComponentsManager, "enable_auto_cpu_offload", offload)
    folder = modular_folders["MiniMax-H3"]
    load_pipeline(str(folder), "cuda", offload="model")
    assert seen == [("cuda", {"text_encoder", "vae", "audio_vae", "transformer"})]
    message = r"^The layers of a modular pipeline are not offloaded one by one\. Choose offload model\.$"
    refused(folder, message, device="cuda", offload="sequential")
