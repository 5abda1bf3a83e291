import numpy as np
import pytest

from concept_attention.errors import UserError
from concept_attention.selection import parse_layers, parse_steps


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("auto", (15, 16, 17, 18)),
        (" Auto ", (15, 16, 17, 18)),
        ("all", tuple(range(19))),
        ("15-18", (15, 16, 17, 18)),
        ("3,7,9-11", (3, 7, 9, 10, 11)),
        (" 11 , 9 - 10,9", (9, 10, 11)),
        ("0", (0,)),
        ([18, 3, 3], (3, 18)),
        (3, (3,)),
        (np.int64(3), (3,)),
        (np.array([3, 1]), (1, 3)),
        (np.array(3), (3,)),
        (["3", "1"], (1, 3)),
        (range(2), (0, 1)),
    ],
)
def test_layers_are_ascending_and_unique(text, expected):
    assert parse_layers(text, 19, (18, 17, 16, 15)) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("all", (0, 1, 2, 3, 4, 5, 6, 7)),
        ("3-7", (3, 4, 5, 6, 7)),
        ("0,2", (0, 2)),
        ("-1", (7,)),
        ("-3--1", (5, 6, 7)),
        ("6--1,0", (0, 6, 7)),
        ([-1, 0], (0, 7)),
        (-1, (7,)),
        (2, (2,)),
    ],
)
def test_steps_may_count_from_the_end(text, expected):
    assert parse_steps(text, 8) == expected


@pytest.mark.parametrize("text", ["24", "15-24", [24], "0,24-30", "0-999999999"])
def test_a_layer_beyond_the_model_is_an_error_that_says_what_there_is(text):
    with pytest.raises(ValueError, match=r"Layer \d+ does not exist: this model has 19 joint blocks \(0-18\)\."):
        parse_layers(text, 19, (18,))


def test_layers_do_not_count_from_the_end():
    with pytest.raises(UserError, match="Layer -1 does not exist"):
        parse_layers("-1", 19, (18,))


@pytest.mark.parametrize("text", ["8", "-9", "2-8", [8], "0-999999999"])
def test_a_step_that_was_not_taken_is_an_error_that_says_what_there_is(text):
    with pytest.raises(UserError, match=r"Step -?\d+ does not exist: there are 8 steps \(0-7"):
        parse_steps(text, 8)


@pytest.mark.parametrize("text", ["", " ", ",", "1,", "a", "1.5", "1-2-3", "0x1", "1" * 5000, "last", []])
def test_what_selects_nothing_is_an_error_that_shows_how_to_write_it(text):
    with pytest.raises(UserError, match="`layers`.*15-18"):
        parse_layers(text, 19, (18,))
    with pytest.raises(UserError, match="`steps`.*3-7"):
        parse_steps(text, 8)


@pytest.mark.parametrize("given", [None, 1.5, [1.5], [None], ["a"], [[1, 2]], {"a": 1}, object()])
def test_what_is_no_number_is_an_error_that_shows_how_to_write_it(given):
    with pytest.raises(UserError, match="`layers` are whole numbers, got .*15-18"):
        parse_layers(given, 19, (18,))
    with pytest.raises(UserError, match="`steps` are whole numbers, got .*3-7"):
        parse_steps(given, 8)


def test_a_range_that_runs_backwards_is_an_error():
    with pytest.raises(UserError, match="7-3.*backwards"):
        parse_layers("7-3", 19, (18,))
    with pytest.raises(UserError, match="backwards"):
        parse_steps("-1-3", 8)
