"""Concepts in the host's previews: over its images, at its rate, and nothing else changes."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import comfy.utils
import latent_preview
import nodes
import pytest
import torch
from comfy.model_management import InterruptProcessingException
from comfy_extras.nodes_custom_sampler import BasicGuider, KSamplerSelect, Noise_RandomNoise
from PIL import Image

from concept_attention.drawing.preview import REGIONS, SIZE, StepPainter, paint_mask, shrink
from concept_attention.hosts.comfyui.acting.place import Place
from concept_attention.hosts.comfyui.acting.prompts import Region, add_region
from concept_attention.hosts.comfyui.acting.regions import PromptsOfRegions
from concept_attention.hosts.comfyui.analysis import analyze
from concept_attention.hosts.comfyui.engine import run
from concept_attention.hosts.comfyui.engine.live_preview import find_previewer
from concept_attention.hosts.comfyui.patching import add_part, collect, patch_model
from concept_attention.hosts.comfyui.sampling import sample, sample_custom
from concept_attention.recording.recording import Recording
from concept_attention.recording.shares import share_rule

from ....support.comfyui.settings import make_settings
from ....support.comfyui.tiny import make_cond, make_flux, make_latent

EMPTY = {"samples": torch.zeros(1, 16, 6, 8)}
ODD = {"samples": make_latent(2, 7, 10)}  # the last row of tokens lies half outside of the image
ARGUMENTS: dict[str, Any] = {
    **{"seed": 3, "steps": 4, "cfg": 1.0, "sampler_name": "euler", "scheduler": "simple"},
    **{"positive": make_cond(), "negative": make_cond(5, 3)},
}


@pytest.fixture(scope="module")
def model() -> Any:
    return make_flux()


Shown = list[tuple[int, int, Any]]


@pytest.fixture
def shown() -> Iterator[Shown]:
    """Calls of the host's progress hook: value, total, and (format, image, size) or None. Previews are off."""
    calls: Shown = []
    previous = comfy.utils.PROGRESS_BAR_HOOK
    comfy.utils.set_progress_bar_global_hook(
        lambda value, total, preview, node_id=None: calls.append((value, total, preview))
    )
    latent_preview.set_preview_method("none")
    yield calls
    latent_preview.set_preview_method()
    comfy.utils.set_progress_bar_global_hook(previous)


def plain(model: Any, shown: Shown, latent: dict[str, Any] = EMPTY) -> tuple[torch.Tensor, list[Any]]:
    """Core's latent, and what it shows of every step."""
    (output,) = nodes.common_ksampler(model, latent=latent, **ARGUMENTS)
    previews = [preview for *_, preview in shown]
    shown.clear()
    return output["samples"], previews


def painted(
    recording: Recording, view: str, step: int, under: Image.Image | None, visible: tuple[float, float] = (1.0, 1.0)
) -> Image.Image:
    """A step's preview, painted by hand."""
    layers = list(recording.default_layers)  # all layers are kept here
    scores = tuple(tensor[step, layers, 0] for tensor in (recording.scores, recording.norms))
    painter = StepPainter(recording.concepts, view, share_rule(recording))
    return painter.paint(scores, recording.grid[1:], visible, under)


def same(one: Image.Image, other: Image.Image) -> bool:
    return one.size == other.size and one.tobytes() == other.tobytes()


@pytest.mark.parametrize("view", ["tree", "segmentation"])
def test_every_preview_of_the_host_gets_the_concepts_of_its_step(model: Any, shown: Shown, view: str) -> None:
    latent_preview.set_preview_method("latent2rgb")
    expected, previews = plain(model, shown)
    output, recording = sample(model, make_settings(live_preview=view), latent=EMPTY, **ARGUMENTS)
    assert torch.equal(output["samples"], expected)
    assert [call[:2] for call in shown] == [(step, 4) for step in (1, 2, 3, 4)]
    for step, (own, (*_, preview)) in enumerate(zip(previews, shown, strict=True)):
        assert preview[0] == own[0] and preview[2] == own[2]
        assert same(preview[1], painted(recording, view, step, shrink(own[1], own[2])))
        assert not same(preview[1], own[1])


def test_tokens_outside_of_the_image_are_not_drawn(model: Any, shown: Shown) -> None:
    latent_preview.set_preview_method("latent2rgb")
    expected, previews = plain(model, shown, ODD)
    output, recording = sample(model, make_settings(live_preview="sky"), latent=ODD, **ARGUMENTS)
    assert torch.equal(output["samples"], expected)
    assert recording.covered_size == (64, 80) and recording.image_size == (56, 80)
    assert same(shown[1][2][1], painted(recording, "sky", 1, previews[1][1], (56 / 64, 1.0)))


def test_where_the_host_shows_nothing_the_map_is_shown_alone(model: Any, shown: Shown) -> None:
    expected, previews = plain(model, shown)
    assert previews and not any(previews)
    output, recording = sample(model, make_settings(live_preview="house"), latent=EMPTY, **ARGUMENTS)
    assert torch.equal(output["samples"], expected)
    images = [call for call in shown if call[2] is not None]
    assert [call[:2] for call in images] == [(step, 4) for step in (1, 2, 3, 4)]
    for step, (*_, (kind, image, size)) in enumerate(images):
        assert (kind, size) == ("JPEG", None) and max(image.size) == SIZE
        assert same(image, painted(recording, "house", step, None))


@pytest.mark.parametrize("method", ["none", "latent2rgb"])
def test_previews_of_steps_that_are_not_recorded_are_unchanged(model: Any, shown: Shown, method: str) -> None:
    latent_preview.set_preview_method(method)
    _, previews = plain(model, shown)
    settings = make_settings(live_preview="sky", start_percent=0.5, end_percent=0.75)
    sample(model, settings, latent=EMPTY, **ARGUMENTS)
    got = {value: preview for value, _, preview in shown}
    for step in (1, 2, 4):
        assert got.get(step) is None if method == "none" else same(got[step][1], previews[step - 1][1])
    assert got[3] is not None and (method == "none" or not same(got[3][1], previews[2][1]))


def test_without_a_live_preview_none_is_made(model: Any, shown: Shown, monkeypatch: pytest.MonkeyPatch) -> None:
    latent_preview.set_preview_method("latent2rgb")
    monkeypatch.setattr(run, "LivePreview", lambda *rest: pytest.fail("made"))
    expected, previews = plain(model, shown)
    output, _ = sample(model, make_settings(), latent=EMPTY, **ARGUMENTS)
    assert torch.equal(output["samples"], expected)
    assert all(same(call[2][1], own[1]) for call, own in zip(shown, previews, strict=True))


def test_a_patched_model_and_the_custom_sampler_show_concepts_too(model: Any, shown: Shown) -> None:
    settings = make_settings(live_preview="tree")
    _, recording = sample(model, settings, latent=EMPTY, **ARGUMENTS)
    images = [preview[1] for *_, preview in shown if preview]
    shown.clear()
    nodes.common_ksampler(patch_model(model, settings), latent=EMPTY, **ARGUMENTS)
    assert all(same(one, preview[1]) for one, (*_, preview) in zip(images, filter(lambda x: x[2], shown), strict=True))
    shown.clear()
    guider = BasicGuider.execute(model, make_cond()).result[0]
    sigmas, sampler = torch.tensor([*recording.sigmas, 0.0]), KSamplerSelect.execute("euler").result[0]
    sample_custom(Noise_RandomNoise(3), guider, sampler, sigmas, EMPTY, settings)
    assert len([preview for *_, preview in shown if preview]) == 4


@pytest.mark.parametrize("method", ["none", "latent2rgb"])
def test_regions_are_shown_in_every_step_also_after_they_are_fixed(model: Any, shown: Shown, method: str) -> None:
    latent_preview.set_preview_method(method)
    encoded = make_settings(seed=3).encoded  # the tree wins some of the tokens
    place = Place(("tree",), start=0.25, freeze=0.25, shape="hard", strength=0.5)
    region = Region(place, "blend", encoded.fingerprint())
    acting = add_part(model, encoded, PromptsOfRegions(place.last_percent), REGIONS)
    arguments = {**ARGUMENTS, "positive": add_region(ARGUMENTS["positive"], make_cond(seed=11), region)}
    _, previews = plain(model, shown)
    (output,) = nodes.common_ksampler(acting, latent=EMPTY, **arguments)
    masks = collect(output).region_masks
    assert masks is not None and masks.unique().tolist() == [0.0, 0.5]
    images = [preview[1] for *_, preview in shown if preview]
    assert len(images) == 4
    first = previews[0] and previews[0][1]
    assert same(images[0], paint_mask(masks[0, 0, 0], first))  # then the region acts, and the pictures differ
    if method == "none":
        assert all(same(images[0], image) for image in images)


def test_regions_are_not_shown_where_nothing_acts(model: Any, shown: Shown) -> None:
    latent_preview.set_preview_method("latent2rgb")
    expected, previews = plain(model, shown)
    output, _ = sample(model, make_settings(live_preview=REGIONS), latent=EMPTY, **ARGUMENTS)
    assert torch.equal(output["samples"], expected)
    assert all(same(call[2][1], own[1]) for call, own in zip(shown, previews, strict=True))


@pytest.mark.parametrize("method", ["none", "latent2rgb"])
def test_every_noise_sample_of_an_existing_image_is_drawn(model: Any, shown: Shown, method: str) -> None:
    latent_preview.set_preview_method(method)
    latent = {"samples": make_latent(1, 6, 8)}
    before = analyze(model, make_settings(), latent, samples=2)
    assert not any(preview for *_, preview in shown)
    shown.clear()
    recording = analyze(model, make_settings(live_preview="sky"), latent, samples=2)
    assert torch.equal(recording.scores, before.scores)
    images = [preview[1] for *_, preview in shown if preview]
    under = None
    if method == "latent2rgb":
        previewer = latent_preview.get_previewer(model.load_device, model.model.latent_format)
        x0 = model.model.process_latent_in(latent["samples"])
        under = previewer.decode_latent_to_preview_image("JPEG", x0)[1]
    assert len(images) == 2
    assert all(same(image, painted(recording, "sky", step, under)) for step, image in enumerate(images))


class Previewer(latent_preview.LatentPreviewer):
    """A previewer that a test can inspect."""

    def decode_latent_to_preview(self, x0: torch.Tensor) -> Image.Image:
        return Image.new("RGB", (8, 6))


@pytest.fixture
def previewer(monkeypatch: pytest.MonkeyPatch) -> Previewer:
    made = Previewer()
    monkeypatch.setattr(latent_preview, "get_previewer", lambda *rest: made)
    return made


def test_the_hosts_previewer_is_left_as_it_was(model: Any, shown: Shown, previewer: Previewer) -> None:
    sample(model, make_settings(live_preview="sky"), latent=EMPTY, **ARGUMENTS)
    assert vars(previewer) == {} and len(shown) == 4


def test_an_interrupt_gets_through_and_leaves_nothing(model: Any, shown: Shown, previewer: Previewer) -> None:
    def interrupt(value: int, total: int, preview: Any, node_id: Any = None) -> None:
        assert vars(previewer) and preview[1].getcolors() != [(48, (0, 0, 0))]
        raise InterruptProcessingException

    comfy.utils.set_progress_bar_global_hook(interrupt)
    before = repr(model.model_options), repr(model.wrappers)
    with pytest.raises(InterruptProcessingException):
        sample(model, make_settings(live_preview="sky"), latent=EMPTY, **ARGUMENTS)
    assert vars(previewer) == {} and (repr(model.model_options), repr(model.wrappers)) == before


def test_a_previewer_that_shows_its_images_itself_is_left_alone(
    model: Any, shown: Shown, previewer: Previewer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Previewer, "decode_latent_to_preview_image", lambda self, kind, x0: None)
    sample(model, make_settings(live_preview="sky"), latent=EMPTY, **ARGUMENTS)
    assert not any(preview for *_, preview in shown)


def test_the_previewer_is_found_inside_of_other_callbacks(model: Any, previewer: Previewer) -> None:
    own = latent_preview.prepare_callback(model, 3)

    def wrapped(*arguments: Any) -> Any:
        return own(*arguments) if later else None

    assert find_previewer(wrapped) is previewer  # one of its cells is still empty
    later = True
    assert find_previewer(lambda *arguments: wrapped(*arguments)) is previewer and later
    for other in (None, print, lambda *arguments: None, io.BytesIO().write):
        assert find_previewer(other) is None


def test_what_cannot_be_shown_is_refused_before_anything_is_sampled() -> None:
    with pytest.raises(ValueError, match='The live preview cannot show "moon". Write one of house, tree, sky, segm'):
        make_settings(live_preview="moon")
    assert make_settings(live_preview="SKY").fingerprint() == make_settings().fingerprint()
