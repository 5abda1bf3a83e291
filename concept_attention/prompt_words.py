"""The content words of a prompt, as concepts."""

from __future__ import annotations

import re
from collections.abc import Sequence

from .concepts import Concept, parse_concepts

# Words that name nothing that could be seen, and words about the picture as a whole.
_FUNCTION_WORDS = frozenset(
    """
    a an the this that these those some any every each all both no not
    and or but nor so yet while as than then if because
    of in on at by to into onto from with without within inside outside over under above below behind beside between
    among around across along through near next against before after during for about off up down out
    is are was were be been being am has have had do does did will would can could may might must shall should
    he she it they we you i him her them us me his hers its their our your my who whom whose which what where when how
    there here very more most much many few several also just only too
    photo photograph picture image painting drawing illustration render rendering artwork art shot scene view style
    masterpiece best quality high highly detailed resolution hd 4k 8k uhd realistic photorealistic
    """.split()  # noqa: SIM905  # as readable as can be
)
_BREAK = re.compile(r"[,.;:!?|/\n\r\t\"“”()\[\]{}<>，。；：！？、（）]+")
_WEIGHT = re.compile(r":\s*-?\d+(\.\d+)?\s*(?=[)\]])")  # of ComfyUI's (word:1.2)
_MOST_WORDS = 5  # a longer run is no phrase, and is given up word by word


def prompt_concepts(prompt: str, besides: Sequence[Concept] = ()) -> tuple[Concept, ...]:
    """Every content word of a prompt as a concept, adjectives together with what they describe.

    Args:
        prompt: in any language that separates words by spaces, English function words are left out.
        besides: concepts that there are already; their names are not repeated.

    Returns:
        Concepts in the order of the prompt, each once; none if the prompt names nothing.

    >>> [concept.name for concept in prompt_concepts("A photo of a red house and (two trees:1.2) under the blue sky")]
    ['red house', 'two trees', 'blue sky']
    """
    taken = {concept.name.casefold() for concept in besides}
    found = []
    for phrase in _phrases(_WEIGHT.sub("", prompt)):
        if phrase.casefold() not in taken:
            taken.add(phrase.casefold())
            found.append(phrase)
    return parse_concepts(found) if found else ()


def _phrases(prompt: str) -> list[str]:
    """Runs of content words between function words and punctuation."""
    phrases: list[str] = []
    for part in _BREAK.split(prompt):
        run: list[str] = []
        for word in [*part.split(), "the"]:  # the last one ends the run
            bare = word.strip("'’*_-+~=")
            if bare and bare.casefold() not in _FUNCTION_WORDS:
                run.append(bare)
            elif run:
                phrases += [" ".join(run)] if len(run) <= _MOST_WORDS else run
                run = []
    return phrases
