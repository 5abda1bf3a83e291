"""ConceptAttention: where a multimodal diffusion transformer places each concept (arXiv:2502.04320)."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .concepts import parse_concepts as parse_concepts
    from .heatmaps.heatmaps import make_heatmaps as make_heatmaps
    from .heatmaps.masks import make_masks as make_masks
    from .hosts.diffusers.authors.cogvideox import (
        ConceptAttentionCogVideoXPipeline as ConceptAttentionCogVideoXPipeline,
    )
    from .hosts.diffusers.authors.flux import ConceptAttentionFluxPipeline as ConceptAttentionFluxPipeline
    from .hosts.diffusers.authors.flux2 import ConceptAttentionFlux2Pipeline as ConceptAttentionFlux2Pipeline
    from .hosts.diffusers.authors.sd3 import ConceptAttentionSD3Pipeline as ConceptAttentionSD3Pipeline
    from .recording.file import load_recording as load_recording
    from .recording.file import save_recording as save_recording
    from .recording.recording import Recording as Recording

# Where each public name is defined. A name is imported when it is first used, so that nobody loads a host for nothing.
_HOMES = {
    "ConceptAttentionCogVideoXPipeline": ".hosts.diffusers.authors.cogvideox",
    "ConceptAttentionFlux2Pipeline": ".hosts.diffusers.authors.flux2",
    "ConceptAttentionFluxPipeline": ".hosts.diffusers.authors.flux",
    "ConceptAttentionSD3Pipeline": ".hosts.diffusers.authors.sd3",
    "Recording": ".recording.recording",
    "load_recording": ".recording.file",
    "make_heatmaps": ".heatmaps.heatmaps",
    "make_masks": ".heatmaps.masks",
    "parse_concepts": ".concepts",
    "save_recording": ".recording.file",
}
__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name], __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
