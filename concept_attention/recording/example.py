"""A made-up recording for documentation examples and first trials. No model was run for it."""

from __future__ import annotations

import torch

from ..concepts import parse_concepts
from .builder import RecordingBuilder
from .recording import Recording

_SCENE = ("ssssss", "sshhss", "gghhgg", "gggggg")  # first letter of the concept at every token


def example_recording(presence: bool = False) -> Recording:
    """A recording of a house on grass below the sky: 2 steps, layers 1 and 3 of 4, one image of 4 x 6 tokens.

    The score of a concept is layer + step where it is, and 0 elsewhere. With `presence`, its log-odds are 3 and -3.
    """
    concepts = parse_concepts("sky, house", background="grass")
    present = torch.tensor([[letter == concept.name[0] for letter in "".join(_SCENE)] for concept in concepts])
    builder = RecordingBuilder(layers := (1, 3))
    for step, sigma in enumerate((1.0, 0.5)):
        for layer in layers:
            scores, norms = (layer + step) * present[None].float(), torch.ones(1, len(concepts))
            builder.add_layer(layer, scores, norms, presence=6 * present[None].float() - 3 if presence else None)
        builder.commit(step, sigma)
    return builder.build(
        layer_count=4,
        default_layers=layers,
        grid=(1, len(_SCENE), len(_SCENE[0])),
        image_size=(64, 96),
        architecture="flux",
        mode="flux",
        concepts=concepts,
    )
