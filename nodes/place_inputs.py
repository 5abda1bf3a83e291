"""Inputs of the nodes that act where a concept is, and the place that they say."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..concept_attention.choices import REGION_SHAPES
from ..concept_attention.hosts.comfyui.acting.place import FREEZE, START, Place
from ..concept_attention.hosts.encoded import EncodedConcepts
from . import named


def place_inputs() -> list[io.Input]:
    """Which concept something follows, and when in the run."""
    return [
        io.String.Input(
            "concept",
            default="",
            optional=True,
            tooltip="Name of the concept that is followed; several, separated by commas, count together. Empty: the "
            "first one. Encode Concepts needs at least one more, such as the background, to compare it with.",
        ),
        io.Float.Input(
            "start",
            default=START,
            min=0.0,
            max=1.0,
            step=0.01,
            optional=True,
            tooltip="Part of the steps before which nothing acts: 0 is the first step. Earlier changes more of the "
            "shape, later only details.",
        ),
        io.Float.Input(
            "freeze",
            default=FREEZE,
            min=0.0,
            max=1.0,
            step=0.01,
            optional=True,
            tooltip="Part of the steps after which the mask stays as it is. Before, it follows the concept.",
        ),
    ]


def shape_inputs() -> list[io.Input]:
    """How a place becomes a mask; after all inputs that people use."""
    return [
        io.Combo.Input(
            "shape",
            options=list(REGION_SHAPES),
            default="soft",
            optional=True,
            advanced=True,
            tooltip="soft: the mask fades out at the concept's border. hard: it ends where the share falls below one "
            "half.",
        ),
        io.Float.Input(
            "grow",
            default=0.0,
            min=-512.0,
            max=512.0,
            step=1.0,
            optional=True,
            advanced=True,
            tooltip="Grows the mask by so many pixels of the image; negative numbers shrink it.",
        ),
        io.Float.Input(
            "feather",
            default=0.0,
            min=0.0,
            max=512.0,
            step=1.0,
            optional=True,
            advanced=True,
            tooltip="Blurs the mask's border over so many pixels of the image.",
        ),
        io.Float.Input(
            "strength",
            default=1.0,
            min=0.0,
            max=1.0,
            step=0.01,
            optional=True,
            advanced=True,
            tooltip="Factor of the mask. 0 changes nothing, bit for bit.",
        ),
    ]


def to_place(concepts: EncodedConcepts, concept: str, *options: Any) -> Place:
    """The place that the inputs of a node name, checked against its concepts."""
    place = Place(tuple(named.to_names(concept, concepts.concepts)), *options)
    place.indices(concepts.concepts)
    return place
