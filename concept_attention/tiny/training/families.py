"""The architectures that can be trained on the landscape world, by name."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from .cogvideox import COGVIDEOX
from .family import Family
from .flux import FLUX
from .sd import SD
from .sd3 import SD3

FAMILIES: Mapping[str, Family] = MappingProxyType({"flux": FLUX, "sd3": SD3, "sd": SD, "cogvideox": COGVIDEOX})
