"""What a check needs of a model, whatever host runs it."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from ...recording.recording import Recording
from ..world.scenes import Scene

PROMPT = "a red house and a tree on grass under the sky"  # of the runs whose cost is measured
ASKED = "house, tree, grass, sky"
STEPS = 4


class Subject(Protocol):
    """A loaded model.

    Attributes:
        width, height: pixels of the scenes that it is shown.
        frames: of a clip; 1 for images.
        device: where it computes.
        taught: what to know of an embedded model whose maps are taught, else "".
    """

    width: int
    height: int
    frames: int
    device: torch.device
    taught: str

    def look(self, scene: Scene, noise: float) -> Recording:
        """The recording of a scene with its `scene_concepts`, without a prompt, at a noise level (0-1)."""

    def sample(self, recorded: bool) -> Tensor:
        """The latent of a run of STEPS steps with PROMPT, always the same, with ASKED recorded or not."""
