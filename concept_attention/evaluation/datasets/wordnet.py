"""One common word for each synset of WordNet 3.0, read from its file `data.noun`."""

from __future__ import annotations

import json
import os
from pathlib import Path

from ...errors import UserError
from .png import words_of

FOLDERS = ("/usr/share/wordnet", "/usr/local/share/wordnet", "/usr/local/WordNet-3.0/dict")
OWN_RULE = "first hypernym with a common one-word name"


class SynsetWords:
    """Words by synset id, such as `n02119789`.

    Args:
        names: JSON object of words by synset id or by the synset's first lemma, such as the authors'
            `imagenet_class_map.json`; None walks up the hypernyms to the first that has one of our common words.

    Raises:
        UserError: for a file that is no such object; where WordNet is needed and missing; for a synset without a word.

    Convention: a synset's number is the position of its line in `data.noun`, which the variable WNSEARCHDIR locates,
    or a package such as Debian's wordnet-base.
    """

    def __init__(self, names: Path | None) -> None:
        self._given = {} if names is None else _read(names)
        self._names = names
        self._common = set(words_of("common"))

    @property
    def rule(self) -> str:
        """Where the words come from, for the results."""
        return OWN_RULE if self._names is None else self._names.name

    def __getitem__(self, synset: str) -> str:
        if synset in self._given:
            return self._given[synset]
        lemmas, above = read_synset(synset)
        if self._names is not None:
            if lemmas[0] not in self._given:
                raise UserError(f"{self._names} has no word for {synset} ({lemmas[0]}). Add one.")
            return self._given[lemmas[0]]
        while not self._common.intersection(lemmas):
            if not above:
                raise UserError(f"{synset} has no common word among its hypernyms. Give --names with a word for it.")
            lemmas, above = read_synset(above)
        return next(lemma for lemma in lemmas if lemma in self._common)


def read_synset(synset: str) -> tuple[list[str], str]:
    """Lemmas of a synset, and the id of its first hypernym ("" if it has none)."""
    with _data_file().open("rb") as file:
        file.seek(int(synset[1:]))
        fields = file.readline().decode("ascii", "replace").partition(" | ")[0].split()
    if not fields or fields[0] != synset[1:]:
        raise UserError(f"Synset {synset} is not in this WordNet's data.noun: it must be version 3.0.")
    count = int(fields[3], 16)
    lemmas = [word.replace("_", " ") for word in fields[4 : 4 + 2 * count : 2]]
    pointers = fields[5 + 2 * count :]
    above = [pointers[place + 1] for place in range(0, len(pointers) - 3, 4) if pointers[place] in ("@", "@i")]
    return lemmas, f"n{above[0]}" if above else ""


def _data_file() -> Path:
    folders = [os.environ.get("WNSEARCHDIR", ""), *FOLDERS]
    for folder in filter(None, folders):
        if (Path(folder) / "data.noun").is_file():
            return Path(folder) / "data.noun"
    raise UserError(
        "Names of synsets need WordNet 3.0's data.noun: install it (Debian: wordnet-base), or name its folder in "
        "the variable WNSEARCHDIR, or give --names with words by synset id."
    )


def _read(path: Path) -> dict[str, str]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"Cannot read the names {path}: {error}. Give a JSON object of synsets and words.") from error
    found = found.get("categories", found) if isinstance(found, dict) else found
    if not isinstance(found, dict) or not all(isinstance(word, str) for word in found.values()):
        raise UserError(f"{path} is not a JSON object of synsets and words.")
    return found
