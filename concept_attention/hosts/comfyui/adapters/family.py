"""Base class of all architecture families, however their concepts are read."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

from torch import nn

from ...architecture import Architecture
from .network import Layers


class Family(ABC):
    """One architecture family, a subclass in a file of its own. Instances are shared by all runs and keep no state.

    Attributes:
        supported: models, as users know them.
    """

    supported: ClassVar[tuple[str, ...]]

    @abstractmethod
    def matches(self, model: Any) -> bool:
        """Whether a BaseModel of ComfyUI is of this family. Every model is tried, so this must not raise."""

    @abstractmethod
    def describe(self, model: Any) -> Architecture:
        """Sizes of a model that matches."""

    @abstractmethod
    def layers(self, network: Any) -> Layers:
        """The blocks that are recorded, in the order in which they run; layer n is the n-th of them."""

    def conditioning_modules(self, network: Any) -> Mapping[str, nn.Module]:
        """Submodules whose last call before the first layer is needed, under names for `BlockCall.calls`."""
        return {}
