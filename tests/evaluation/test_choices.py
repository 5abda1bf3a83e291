"""What the command line offers is what there is."""

from __future__ import annotations

import pytest

from concept_attention.choices import DATA_SETS, METHODS_COMPARED, REFINEMENT_NAMES, SWEEP_NAMES
from concept_attention.errors import UserError
from concept_attention.evaluation.baselines.opening import BASELINES
from concept_attention.evaluation.datasets.png import LAYOUTS
from concept_attention.evaluation.refinements import REFINEMENTS
from concept_attention.evaluation.run import chosen_pictures
from concept_attention.evaluation.settings import Settings
from concept_attention.evaluation.sweeps import SWEEPS, sweep_steps
from concept_attention.vectors import SPACES


def test_every_name_is_defined_and_every_definition_offered() -> None:
    assert set(DATA_SETS) == {"landscapes", "crayon", "folder", "imagenet-seg", *LAYOUTS}
    assert set(METHODS_COMPARED) == {"concept", *SPACES, *BASELINES} - {"output"}
    assert set(SWEEP_NAMES) == set(SWEEPS) and set(REFINEMENT_NAMES) == {"none", *REFINEMENTS}


MODEL = {"layer_count": 4, "reading": "concept"}


@pytest.mark.parametrize("name", SWEEP_NAMES)
def test_a_sweep_varies_one_thing_under_labels_of_its_own(name: str) -> None:
    base = Settings("paper", background=("sky", "grass"))
    steps = sweep_steps(name, base, MODEL)
    assert len({label for label, _ in steps}) == len(steps) >= 2
    differing = {field for _, one in steps for field, value in vars(one).items() if value != getattr(base, field)}
    assert len(differing - {"recorded"}) == 1


def test_taking_background_words_away_needs_some() -> None:
    with pytest.raises(UserError, match="--background"):
        sweep_steps("concepts", Settings("paper"), MODEL)


def test_a_limit_is_a_fixed_choice_and_parts_share_it_out() -> None:
    data = range(100)
    chosen = chosen_pictures(data, 10, 3)
    assert chosen == sorted(chosen) == chosen_pictures(data, 10, 3) != chosen_pictures(data, 10, 4)
    parts = [chosen_pictures(data, 10, 3, (number, 3)) for number in (1, 2, 3)]
    assert sorted(sum(parts, [])) == chosen and len({*parts[0], *parts[1]}) == len(parts[0]) + len(parts[1])
    assert chosen_pictures(data, None, 0) == list(data)
    with pytest.raises(UserError, match="part 4 of 3"):
        chosen_pictures(data, None, 0, (4, 3))


def test_a_model_without_joint_blocks_is_swept_over_its_own_readings() -> None:
    steps = sweep_steps("mode", Settings("proper"), {**MODEL, "reading": "cross"})
    assert [settings.mode for _, settings in steps] == ["cross", "gram"]
    every = [settings.mode for _, settings in sweep_steps("mode", Settings("proper"), MODEL)]
    assert every == ["flux", "paper", "sd3", "cross", "gram"]
