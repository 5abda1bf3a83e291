"""A question about a picture: what a model or a baseline is asked to find in it."""

from __future__ import annotations

from dataclasses import dataclass

from PIL import Image

from ..concepts import Concept


@dataclass(frozen=True)
class Question:
    """What is asked about a picture.

    Attributes:
        image: as the model gets it, or to be scaled to about the model's own size if `square` is false.
        square: whether the image has the model's own size already.
        concepts: to record, in order.
        labels: the label that each stands for; None for background words and the absent concept.
        prompt: caption of the picture.
    """

    image: Image.Image
    square: bool
    concepts: tuple[Concept, ...]
    labels: tuple[int | None, ...]
    prompt: str
