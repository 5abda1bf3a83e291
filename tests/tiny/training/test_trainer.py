"""The training objective, spelled out again without hooks, and that training goes the right way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch

from concept_attention.embedded import FLUX_FOLDER
from concept_attention.tiny.models.codec import CODEC, LinearCodec, fit_codec, read_codec
from concept_attention.tiny.models.texts import TEXT_TOKENS, concept_texts
from concept_attention.tiny.training import trainer as trainer_module
from concept_attention.tiny.training.export import read_parts
from concept_attention.tiny.training.families import FAMILIES
from concept_attention.tiny.training.pool import CHUNK, Pool, training_prompt
from concept_attention.tiny.training.process import FLOW, VARIANCE_PRESERVING
from concept_attention.tiny.training.trainer import DECAY_FROM, Trainer, draw_sigmas, rate_at, train
from concept_attention.tiny.world.clips import draw_clip
from concept_attention.tiny.world.scenes import LABELS, draw_scene, make_setting, token_coverage

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def codec() -> LinearCodec:
    return fit_codec(np.stack([draw_scene(seed, 64, 64).image for seed in range(16)]))


@pytest.fixture(scope="module")
def pool(codec: LinearCodec) -> Iterator[Pool]:
    made = Pool(codec, ((64, 64), (96, 64)), 0, workers=1, limit=2 * CHUNK, device=CPU)
    while made.size < 2 * CHUNK:
        made.grow(wait=60)
    yield made
    made.close()


def test_samples_are_latents_coverage_and_texts_of_the_same_scene(pool: Pool, codec: LinearCodec) -> None:
    batch = pool.sample(tokens=24 * 64)
    size, _, height, width = batch["latents"].shape
    assert batch["coverage"].shape == (size, len(LABELS), height * width // 4)
    torch.testing.assert_close(batch["coverage"].sum(1), torch.ones(size, height * width // 4), atol=0.04, rtol=0)
    first_seed = {(8, 8): 0, (8, 12): CHUNK}[(height, width)]
    scenes = [draw_scene(first_seed + index, 8 * width, 8 * height) for index in range(CHUNK)]
    originals = {
        mirrored: np.stack([codec.encode(np.ascontiguousarray(s.image[:, ::step])[None])[0] for s in scenes])
        for mirrored, step in ((False, 1), (True, -1))
    }
    for latent, coverage in zip(batch["latents"], batch["coverage"], strict=True):
        distance = {m: np.abs(latents - latent.numpy()).max((1, 2, 3)) for m, latents in originals.items()}
        mirrored = min(distance, key=lambda m: distance[m].min())
        index = int(distance[mirrored].argmin())
        assert distance[mirrored][index] < 0.02  # stored in float16
        labels = scenes[index].labels[:, :: -1 if mirrored else 1]
        for n in range(coverage.shape[1]):
            row, column = divmod(n, width // 2)
            token = labels[16 * row : 16 * row + 16, 16 * column : 16 * column + 16]
            for label in (0, 1, 2, 3, 4):
                assert coverage[label, n] == pytest.approx((token == label).mean(), abs=0.004)


def test_prompts_are_nothing_or_say_that_it_is_not_day() -> None:
    kinds = Counter()
    for seed in range(120):
        scene = draw_scene(seed, 64, 64)
        rng = Random(seed)  # noqa: S311 - reproducible, not secret
        time = make_setting(rng, 64, 64).time
        for _ in range(6):
            prompt = training_prompt(scene, rng)
            kinds["caption" if prompt == scene.caption else "words" if prompt else "nothing"] += 1
            assert not prompt or time == "day" or time in prompt or "moon" in prompt, prompt
    assert set(kinds) == {"caption", "words", "nothing"} and kinds["caption"] == max(kinds.values())


def test_both_sizes_come_up(pool: Pool) -> None:
    assert {tuple(pool.sample(256)["latents"].shape[-2:]) for _ in range(20)} == {(8, 8), (8, 12)}


@pytest.fixture(scope="module")
def clips(codec: LinearCodec) -> Iterator[Pool]:
    made = Pool(codec, ((64, 80),), 0, workers=1, limit=CHUNK, device=CPU, frames=3)
    while made.size < CHUNK:
        made.grow(wait=60)
    yield made
    made.close()


def test_samples_of_clips_are_latents_and_coverage_frame_by_frame(clips: Pool, codec: LinearCodec) -> None:
    batch = clips.sample(tokens=6 * 3 * 20)
    assert batch["latents"].shape == (6, 3, 16, 10, 8) and batch["coverage"].shape == (6, len(LABELS), 60)
    drawn = [draw_clip(seed, 64, 80, 3) for seed in range(CHUNK)]
    mirrored = 0
    for latents, coverage in zip(batch["latents"].numpy(), batch["coverage"].numpy(), strict=True):
        distances = {
            (index, step): np.abs(codec.encode(clip.image[:, :, ::step]) - latents).max()
            for index, clip in enumerate(drawn)
            for step in (1, -1)
        }
        (index, step), distance = min(distances.items(), key=lambda item: item[1])
        assert distance < 0.02  # stored in float16
        labels = drawn[index].labels[:, :, ::step]
        for frame in range(3):
            np.testing.assert_allclose(
                coverage.reshape(-1, 3, 5, 4)[:, frame], token_coverage(labels[frame]), atol=0.004
            )
        mirrored += step == -1
    assert 0 < mirrored < 6


@pytest.mark.parametrize(("family", "layers"), [("flux", (2, 3)), ("sd3", (0, 1, 2, 3)), ("cogvideox", (0, 1, 2))])
def test_map_loss_is_the_cross_entropy_of_shares_against_coverage(
    family: str, layers: tuple[int, ...], request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = Trainer(CPU, family=FAMILIES[family])
    batch = request.getfixturevalue("clips" if family == "cogvideox" else "pool").sample(tokens=96)
    heard: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
    original = trainer_module.ConceptStream.__init__

    def listen(
        self: object, transformer: object, embeddings: object, on_layer: object, *rest: object, **named: object
    ) -> None:
        def both(layer: int, image_out: torch.Tensor, concept_out: torch.Tensor) -> None:
            heard[layer] = (image_out.detach().double(), concept_out.detach().double())
            on_layer(layer, image_out, concept_out)  # type: ignore[operator]

        original(self, transformer, embeddings, both, *rest, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(trainer_module.ConceptStream, "__init__", listen)
    _, maps = trainer.losses(batch, TEXT_TOKENS)
    assert set(heard) == set(range(1 + max(layers)))
    label_of = [label for _, label in concept_texts()]
    total = 0.0
    for layer in layers:
        image, concept = heard[layer]
        if family == "sd3":  # where concept vectors are read by their direction
            concept = concept / concept.pow(2).sum(-1, keepdim=True).sqrt()
        loss = weight = 0.0
        for b, texts in enumerate(batch["texts"].tolist()):
            for n in range(image.shape[1]):
                strength = torch.exp(concept[b] @ image[b, n])
                if family == "cogvideox":  # the last vector stands for 226 tokens less the concepts
                    strength = strength * torch.tensor([1.0] * len(texts) + [226.0 - len(texts)])
                shares = strength / strength.sum()
                for c, text in enumerate(texts):
                    covered = float(batch["coverage"][b, label_of[text], n])
                    loss -= covered * float(shares[c].log())
                    weight += covered
        total += loss / weight
    assert float(maps) == pytest.approx(total / len(layers), rel=1e-4)


@pytest.mark.parametrize(("family", "data"), [*((family, "pool") for family in FAMILIES), ("cogvideox", "clips")])
def test_training_lowers_both_losses(family: str, data: str, request: pytest.FixtureRequest) -> None:
    trainer = Trainer(CPU, family=FAMILIES[family])
    trainer.step_count = 100  # warmed up: few steps are enough
    batch = request.getfixturevalue(data).sample(256)
    losses = []
    for _ in range(5):
        trainer._generator.manual_seed(1)  # the same noise
        losses.append(trainer.step(batch, done=0.1))
    (diffusion, maps), *_, (later_diffusion, later_maps) = losses
    assert later_diffusion < 0.95 * diffusion
    assert later_maps < maps - 0.3 if FAMILIES[family].map_layers else later_maps == maps == 0


def test_half_of_the_fine_images_are_as_noisy_as_where_the_layout_is_decided() -> None:
    generator = torch.Generator().manual_seed(0)
    fine, coarse = (draw_sigmas(torch.Size((10_000, 16, side, side)), FLOW, generator) for side in (32, 16))
    assert ((fine > 0) & (fine < 1)).all()
    assert float((fine > 0.85).float().mean()) == pytest.approx(0.49, abs=0.02)
    assert float((fine < 0.5).float().mean()) == pytest.approx(0.11, abs=0.02)  # maps are read there
    assert float(coarse.median()) < 0.6


def test_a_third_of_the_clips_are_as_noisy_as_where_their_layout_is_decided() -> None:
    generator = torch.Generator().manual_seed(0)
    sigma = draw_sigmas(torch.Size((10_000, 9, 16, 16, 16)), VARIANCE_PRESERVING, generator)
    assert ((sigma > 0) & (sigma <= 1)).all()
    stronger = sigma / (1 - sigma.double() ** 2).sqrt()  # how much stronger than the clip the noise is
    assert float((stronger > 9).float().mean()) == pytest.approx(0.34, abs=0.02)
    assert float((sigma < 0.5).float().mean()) == pytest.approx(0.11, abs=0.02)  # maps are read there


def test_rates_warm_up_hold_and_fall() -> None:
    assert rate_at(0.0, 0) == pytest.approx(0.01)
    assert rate_at(0.2, 1000) == 1.0
    assert rate_at(DECAY_FROM + (1 - DECAY_FROM) / 2, 1000) == pytest.approx(0.5)
    assert rate_at(1.0, 1000) == pytest.approx(0.02)


def test_a_stopped_run_is_taken_up_where_it_was(tmp_path: Path, pool: Pool) -> None:
    first = Trainer(CPU, seed=3)
    for _ in range(2):
        first.step(pool.sample(128), done=0.1)
    first.save(tmp_path, minutes=1.5, next_seed=640)
    second = Trainer(CPU, seed=4)
    assert second.restore(tmp_path) == (1.5, 640)
    assert second.step_count == 2
    for name, parameter in first.parameters.items():
        assert torch.equal(second.parameters[name], parameter)
        assert torch.equal(second.average[name], first.average[name])
    second.step(pool.sample(128), done=0.1)
    assert second.step_count == 3


def test_the_shipped_model_can_be_trained_further() -> None:
    shipped = read_parts(FLUX_FOLDER)
    trainer = Trainer(CPU)
    trainer.start_from(shipped)
    for name, parameter in shipped.parameters().items():
        assert torch.equal(trainer.parameters[name], parameter)
        assert torch.equal(trainer.average[name], parameter)
    own = Pool(read_codec(FLUX_FOLDER / CODEC), ((256, 256),), 0, workers=1, limit=CHUNK, device=CPU)
    while own.size < CHUNK:
        own.grow(wait=60)
    own.close()
    batch = own.sample(4 * 256)
    _, maps = trainer.losses(batch, TEXT_TOKENS)
    _, guessed = Trainer(CPU).losses(batch, TEXT_TOKENS)
    assert maps < 0.8 < 1.5 < guessed  # it knows the world; a new one guesses


def test_a_finished_run_trains_no_further(tmp_path: Path, codec: LinearCodec) -> None:
    Trainer(CPU).save(tmp_path, minutes=5, next_seed=0)
    again = train(tmp_path, codec, minutes=5, device=CPU, workers=1, tokens=64, scenes=CHUNK)
    assert again.step_count == 0
