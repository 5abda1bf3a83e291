"""The weights of every landscape model meet their bars, and load wherever models of their architecture load.

The maps of these models are taught: these are tests of the instruments and of everything between a model and its maps.
What only one of them has is tested in the file of its own beside this one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from diffusers import CogVideoXPipeline, FluxPipeline, StableDiffusion3Pipeline
from PIL import Image
from safetensors import safe_open

from concept_attention.concepts import parse_concepts
from concept_attention.embedded import EMBEDDED
from concept_attention.heatmaps.heatmaps import Heatmaps, make_heatmaps
from concept_attention.heatmaps.masks import make_masks
from concept_attention.heatmaps.summary import summarise
from concept_attention.hosts.diffusers import analyze, generate, load_pipeline
from concept_attention.hosts.diffusers.loading import defaults_for
from concept_attention.hosts.diffusers.pipelines.request import is_tiny, model_name
from concept_attention.tiny.evaluation import landscapes as evaluation
from concept_attention.tiny.evaluation.landscapes import evaluate_landscapes, unseen_seed
from concept_attention.tiny.models.codec import CODEC
from concept_attention.tiny.world.clips import draw_landscape
from concept_attention.tiny.world.scenes import LABELS


@dataclass(frozen=True)
class Case:
    """A model, what it is asked for, and what it has to reach.

    Attributes:
        name: as users give it.
        plain: the pipeline that reads its folder.
        call: further arguments that make a plain pipeline do what ours does, `guided` being the name of its guidance.
        shape: width, height and frames of what it makes.
        layers, mode: that its maps are read with.
        count: unseen scenes.
        accuracy, iou: least share of tokens that are right, and least mean IoU.
        megabytes: its folder stays below.
        moving: least IoU of what moves, of clips.
    """

    name: str
    plain: Any
    guided: str
    call: Mapping[str, Any]
    shape: tuple[int, int, int]
    layers: tuple[int, ...]
    mode: str
    count: int
    accuracy: float
    iou: float
    megabytes: float
    moving: float | None = None

    def __str__(self) -> str:
        return self.name


FLUX_CALL = {"negative_prompt": "", "guidance_scale": 0.0}
CLIP_CALL = {"negative_prompt": "", "num_frames": 9}
CASES = (
    Case("tiny", FluxPipeline, "true_cfg_scale", FLUX_CALL, (256, 256, 1), (2, 3), "flux", 200, 0.95, 0.82, 15),
    Case(
        *("tiny-sd3", StableDiffusion3Pipeline, "guidance_scale", {}),
        *((128, 128, 1), (0, 1, 2, 3), "sd3", 200, 0.94, 0.80, 8),
    ),
    Case(
        *("tiny-cogvideox", CogVideoXPipeline, "guidance_scale", CLIP_CALL),
        *((128, 128, 9), (0, 1, 2), "flux", 40, 0.90, 0.75, 8, 0.6),
    ),
)


@pytest.fixture(scope="module", params=CASES, ids=str)
def case(request: pytest.FixtureRequest) -> Case:
    return request.param


@pytest.fixture(scope="module")
def pipeline(case: Case) -> Any:
    loaded = load_pipeline(case.name, device="cpu")
    loaded.set_progress_bar_config(disable=True)
    return loaded


def test_maps_of_unseen_scenes_meet_the_bars(case: Case, pipeline: Any) -> None:
    figures = evaluate_landscapes(pipeline, case.count, seed=1, noise=0.3)
    assert (figures.width, figures.height, figures.frames) == case.shape
    assert (figures.layers, figures.mode) == (case.layers, case.mode)
    assert min(figures.frame_accuracy) >= case.accuracy and figures.pixel_accuracy >= case.accuracy
    assert figures.mean_iou >= case.iou
    assert case.moving is None or figures.moving_iou >= case.moving
    assert figures.absent_rate <= 0.01


def test_a_transposed_grid_shows_at_once(pipeline: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    right = evaluate_landscapes(pipeline, 8, seed=3)

    def transposed(*arguments: Any, **options: Any) -> Heatmaps:
        heatmaps = make_heatmaps(*arguments, **options)
        return replace(heatmaps, values=heatmaps.values.mT)

    monkeypatch.setattr(evaluation, "make_heatmaps", transposed)
    wrong = evaluate_landscapes(pipeline, 8, seed=3)
    assert wrong.pixel_accuracy < right.pixel_accuracy - 0.2


@pytest.mark.parametrize("index", [0, 1, 2])
def test_masks_are_empty_for_absent_concepts(case: Case, pipeline: Any, index: int) -> None:
    scene = draw_landscape(unseen_seed(4, index), *case.shape)
    images = [Image.fromarray(one) for one in scene.image.reshape(-1, *scene.image.shape[-3:])]
    absent = [label for label in LABELS if label not in scene.words][:2]
    concepts = parse_concepts(", ".join([*scene.words, *absent]))
    heatmaps = make_heatmaps(analyze(pipeline, images, concepts, noise=0.3))
    figures = {one.name: one for one in summarise(heatmaps)}
    for name in absent:
        assert figures[name].absent and make_masks(heatmaps, name, "argmax").mean() <= 0.01


def test_a_plain_pipeline_reads_the_folder_and_makes_the_same(case: Case, pipeline: Any) -> None:
    plain = case.plain.from_pretrained(EMBEDDED[case.name])
    plain.set_progress_bar_config(disable=True)
    prompt, steps = "a boat, a sun, water, sky", 4
    made = generate(pipeline, prompt, parse_concepts("boat"), steps=steps, seed=7)
    ours = made.videos[0] if made.videos else made.images
    torch.manual_seed(7)  # schedulers that draw noise take it from here
    theirs = plain(
        prompt,
        **{case.guided: defaults_for(pipeline).cfg},
        **case.call,
        width=case.shape[0],
        height=case.shape[1],
        num_inference_steps=steps,
        max_sequence_length=24,
        generator=torch.Generator().manual_seed(7),
    )
    frames = theirs.frames[0] if case.shape[2] > 1 else theirs.images
    assert len(ours) == case.shape[2] and [one.tobytes() for one in ours] == [one.tobytes() for one in frames]


def test_it_is_known_by_its_name_as_taught(case: Case, pipeline: Any) -> None:
    assert is_tiny(pipeline) and model_name(pipeline) == case.name
    assert pipeline.transformer.dtype == torch.float32


def test_the_folder_is_small_and_in_bfloat16(case: Case) -> None:
    files = [path for path in EMBEDDED[case.name].rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < case.megabytes * 1e6
    for path in (path for path in files if path.suffix == ".safetensors" and path.name != CODEC):
        with safe_open(path, "pt") as tensors:
            assert {tensors.get_slice(name).get_dtype() for name in tensors.keys()} == {"BF16"}  # noqa: SIM118
