"""The trained modules of a landscape model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import torch
from transformers import T5EncoderModel


@dataclass
class Parts:
    """The trained modules, one per field."""

    def modules(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def parameters(self) -> dict[str, torch.nn.Parameter]:
        """Every parameter by part and name, such as `t5.shared.weight`."""
        return {f"{part}.{name}": p for part, module in self.modules().items() for name, p in module.named_parameters()}

    @torch.no_grad()
    def fill(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Copy `tensors` into the parameters of the same names; a missing one is a KeyError."""
        for name, parameter in self.parameters().items():
            parameter.copy_(tensors[name])


@dataclass
class JointParts(Parts):
    """Those of a model with joint blocks."""

    transformer: Any
    t5: T5EncoderModel
