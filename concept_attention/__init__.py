"""ConceptAttention: where a multimodal diffusion transformer places each concept (arXiv:2502.04320)."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .concepts import parse_concepts
    from .heatmaps import make_heatmaps
    from .hosts.diffusers.pipelines import ConceptAttentionFluxPipeline
    from .hosts.diffusers.pipelines_cogvideox import ConceptAttentionCogVideoXPipeline
    from .hosts.diffusers.pipelines_flux2 import ConceptAttentionFlux2Pipeline
    from .hosts.diffusers.pipelines_sd3 import ConceptAttentionSD3Pipeline
    from .masks import make_masks
    from .recording import Recording
    from .recording_file import load_recording, save_recording

__all__ = [
    "ConceptAttentionCogVideoXPipeline",
    "ConceptAttentionFlux2Pipeline",
    "ConceptAttentionFluxPipeline",
    "ConceptAttentionSD3Pipeline",
    "Recording",
    "load_recording",
    "make_heatmaps",
    "make_masks",
    "parse_concepts",
    "save_recording",
]

# Where each name lives. It is imported when it is first asked for: no host is loaded by those who need none.
_HOMES = {
    "ConceptAttentionCogVideoXPipeline": ".hosts.diffusers.pipelines_cogvideox",
    "ConceptAttentionFlux2Pipeline": ".hosts.diffusers.pipelines_flux2",
    "ConceptAttentionFluxPipeline": ".hosts.diffusers.pipelines",
    "ConceptAttentionSD3Pipeline": ".hosts.diffusers.pipelines_sd3",
    "Recording": ".recording",
    "load_recording": ".recording_file",
    "make_heatmaps": ".heatmaps",
    "make_masks": ".masks",
    "parse_concepts": ".concepts",
    "save_recording": ".recording_file",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name], __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
