import unicodedata

import pytest

from concept_attention.concepts import Concept, concept_index, in_line, parse_concepts, slugs
from concept_attention.errors import UserError


def written(text, background="") -> list[tuple[str, str, str]]:
    return [(concept.name, concept.text, concept.role) for concept in parse_concepts(text, background)]


def test_concepts_come_one_per_line_or_comma_separated_in_the_order_written():
    assert [name for name, _, _ in written("tree, sky\n\n  house ,moon  \r\n   \nsun")] == [
        "tree",
        "sky",
        "house",
        "moon",
        "sun",
    ]


def test_a_phrase_after_the_colon_is_what_the_encoder_reads():
    assert written("house: a small  red house\nsky") == [
        ("house", "a small red house", "concept"),
        ("sky", "sky", "concept"),
    ]


def test_backslash_escapes_comma_colon_and_itself():
    assert written(r"a\, b: c\, d, e\:f, g\\, h: i: j, C\d") == [
        ("a, b", "c, d", "concept"),
        ("e:f", "e:f", "concept"),
        ("g\\", "g\\", "concept"),
        ("h", "i: j", "concept"),
        (r"C\d", r"C\d", "concept"),
    ]


def test_backslash_at_the_end_is_a_backslash():
    assert written("a\\\nb") == [("a\\", "a\\", "concept"), ("b", "b", "concept")]


def test_items_of_a_sequence_are_one_concept_each():
    assert written(["cat, sleeping", "dog: a dog, barking"], ["floor"]) == [
        ("cat, sleeping", "cat, sleeping", "concept"),
        ("dog", "a dog, barking", "concept"),
        ("floor", "floor", "background"),
    ]


def test_background_comes_last_and_has_its_role():
    assert written("cat", "floor: wooden floor\nwall") == [
        ("cat", "cat", "concept"),
        ("floor", "wooden floor", "background"),
        ("wall", "wall", "background"),
    ]


def test_unicode_names_are_kept_in_composed_form():
    names = [name for name, _, _ in written("cafe\u0301, 草原, Ёж, 🌲, नीला आकाश")]
    assert names == ["caf\u00e9", "草原", "Ёж", "🌲", "नीला आकाश"]


@pytest.mark.parametrize(
    ("text", "background", "message"),
    [
        ("sky\nhouse,,tree", "", r'Line 2.*empty concept: "house,,tree"'),
        ("sky,", "", 'Line 1.*empty concept: "sky,"'),
        (",sky", "", "Line 1.*empty concept"),
        (["sky", " "], "", "Line 2.*empty concept"),
        ("sky\n\nSKY", "", 'Line 3: "SKY" is already on line 1'),
        ("straße, STRASSE", "", 'Line 1: "STRASSE" is already on line 1'),
        ("caf\u00e9\ncafe\u0301", "", "Line 2.*already on line 1"),
        ("a b\na  b", "", "Line 2.*already on line 1"),
        ("sky", "grass, Sky", 'Background line 1: "Sky" is already on line 1'),
        ("sky", "grass\ngrass", "Background line 2.*already on background line 1"),
        ("sky\nhouse:", "", 'Line 2: "house:" has no phrase after'),
        (": red house", "", 'Line 1: ": red house" has no name before'),
        ("", "", "There are no concepts"),
        (" \n ", "", "There are no concepts"),
        ([], "", "There are no concepts"),
        ("", "grass", "There are no concepts"),
    ],
)
def test_mistakes_are_one_line_errors_that_name_the_line(text, background, message):
    with pytest.raises(UserError, match=message) as error:
        parse_concepts(text, background)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "fields",
    [
        ("", "text"),
        (" ", "text"),
        ("name", ""),
        ("na\nme", "text"),
        ("\ud800", "text"),
        ("name", "half \ud83d"),
        ("a", "b", "foreground"),
    ],
)
def test_a_concept_needs_name_text_and_role(fields):
    with pytest.raises(UserError):
        Concept(*fields)


def test_concepts_are_found_by_name_whatever_the_case():
    concepts = parse_concepts("Sky, caf\u00e9")
    assert concept_index(concepts, "sky") == 0
    assert concept_index(concepts, " Cafe\u0301") == 1


def test_a_name_with_spaces_around_it_can_be_chosen():
    assert [concept_index((Concept("sky", "x"), Concept(" a  b ", "x")), name) for name in ("a b", " a  b ")] == [1, 1]


def test_marks_that_reorder_a_line_are_no_part_of_a_name():
    assert written("\u202esky\u200f: a \u2067blue\u2069 sky") == [("sky", "a blue sky", "concept")]
    assert concept_index(parse_concepts("sky"), "sk\u200ey") == 0
    assert [name for name, _, _ in written("👩\u200d👩, می\u200cخواهم")] == ["👩\u200d👩", "می\u200cخواهم"]


def test_a_name_read_right_to_left_keeps_the_figures_of_its_line_in_place():
    assert [in_line(name) for name in ("sky", "שמים", "سماء", "sky שמים", "草")] == [
        "sky",
        "שמים\u200e",
        "سماء\u200e",
        "sky שמים\u200e",
        "草",
    ]


def test_a_text_of_a_megabyte_is_parsed():
    name = "x" * 2**20
    assert written(f"{name}: {name}\\, y") == [(name, f"{name}, y", "concept")]


def test_thousands_of_equal_names_get_a_number_each():
    assert slugs(["草"] * 20_000)[-1] == "草_20000"
    assert slugs(["a", "a", "a_2", "a"]) == ("a", "a_2", "a_2_2", "a_3")


def test_an_unknown_name_is_an_error_that_lists_the_names():
    with pytest.raises(UserError, match='no concept "moon".*sky, house'):
        concept_index(parse_concepts("sky, house"), "moon")


def test_slugs_keep_letters_of_every_script():
    names = ["sky", "red house", "caf\u00e9", "草原", "Ёж", "नीला", "tree-house"]
    assert slugs(names) == ("sky", "red_house", "caf\u00e9", "草原", "Ёж", "नीला", "tree-house")


def test_slugs_have_no_character_that_a_file_system_refuses():
    names = [
        "a/b",
        "a\\b:c",
        '*?"<>|',
        "..",
        "../../etc/passwd",
        "end. ",
        "\x00\n",
        "🌲",
        "\ud800",
        "",
        "~",
        "-rf",
    ]
    result = slugs(names)
    for slug in result:
        assert slug and slug == slug.strip(" .-")
        assert all(char.isalnum() or char in "_-" for char in slug)
    assert result[0] == "a_b" and result[4] == "etc_passwd"


@pytest.mark.parametrize("name", ["CON", "con", "Prn", "AUX", "nul", "COM1", "lpt9", "com¹", ".nul.", "con "])
def test_slugs_are_no_device_names_of_windows(name):
    (slug,) = slugs([name])
    assert slug.endswith("_") and slug[:3].casefold() == name.strip(". ")[:3].casefold()


def test_slugs_never_collide_on_file_systems_that_ignore_case_or_form():
    names = [
        "sky",
        "Sky",
        "SKY",
        "sky_2",
        "s/ky",
        "s ky",
        "sky\ufe0f",
        "s\u034fky",
        "con",
        "con_",
        "🌲",
        "🌊",
    ]
    names += [
        "straße",
        "STRASSE",
        "caf\u00e9",
        "cafe\u0301",
        "µ",
        "μ",
        "ﬁ",
        "fi",
        "ı",
        "I",
        "x" * 300,
        "x" * 301,
    ]
    result = slugs(names)
    assert len(result) == len(names)
    for form in ("NFC", "NFD"):
        for compared in (str.casefold, str.upper, str.lower):
            assert len({compared(unicodedata.normalize(form, slug)) for slug in result}) == len(names)
    assert result[0] == "sky"


def test_slugs_drop_characters_that_show_nothing():
    assert slugs(["sky\ufe0f", "s\u034fky", "\u3164"]) == ("sky", "sky_2", "concept")


@pytest.mark.parametrize("name", ["x" * 5000, "草" * 5000, "🌲x" * 900, "e\u0301" * 4000])
def test_slugs_leave_room_for_prefix_and_suffix(name):
    for slug in slugs([name] * 12):
        assert len(f"segmentation_{slug}.safetensors".encode()) <= 143  # the strictest common limit
        assert len(unicodedata.normalize("NFD", slug).encode()) <= 255
