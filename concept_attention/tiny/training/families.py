"""The architectures that can be taught the landscape world, by name."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from .cogvideox import COGVIDEOX
from .family import Kind
from .flux import FLUX
from .sd3 import SD3

KINDS: Mapping[str, Kind] = MappingProxyType({"flux": FLUX, "sd3": SD3, "cogvideox": COGVIDEOX})
