"""ConceptAttention: where a multimodal diffusion transformer places each concept (arXiv:2502.04320)."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .authors.cogvideox import (
        ConceptAttentionCogVideoXPipeline as ConceptAttentionCogVideoXPipeline,
    )
    from .authors.flux import ConceptAttentionFluxPipeline as ConceptAttentionFluxPipeline
    from .authors.flux2 import ConceptAttentionFlux2Pipeline as ConceptAttentionFlux2Pipeline
    from .authors.output import ConceptAttentionOutput as ConceptAttentionOutput
    from .authors.sd3 import ConceptAttentionSD3Pipeline as ConceptAttentionSD3Pipeline
    from .concepts import parse_concepts as parse_concepts
    from .drawing.figures import layer_step_figure as layer_step_figure
    from .drawing.overlay import overlay_each as overlay_each
    from .drawing.overlay import overlay_grid as overlay_grid
    from .drawing.overlay import overlay_segmentation as overlay_segmentation
    from .errors import UserError as UserError
    from .evaluation.metrics import ConfusionMatrix as ConfusionMatrix
    from .evaluation.metrics import average_precision as average_precision
    from .heatmaps.guided import sharpen_heatmaps as sharpen_heatmaps
    from .heatmaps.heatmaps import Heatmaps as Heatmaps
    from .heatmaps.heatmaps import make_heatmaps as make_heatmaps
    from .heatmaps.masks import make_masks as make_masks
    from .heatmaps.summary import summarise as summarise
    from .heatmaps.summary import summary_text as summary_text
    from .labelling.labeller import ConceptLabeller as ConceptLabeller
    from .labelling.run import label as label
    from .labelling.settings import LabelSettings as LabelSettings
    from .labelling.sink import FolderSink as FolderSink
    from .labelling.sources import open_source as open_source
    from .recording.file import load_recording as load_recording
    from .recording.file import save_recording as save_recording
    from .recording.recording import Recording as Recording

# Home module of each public name. A name is imported when it is first used, so that no host is loaded for nothing.
_HOMES = {
    "ConceptAttentionCogVideoXPipeline": ".authors.cogvideox",
    "ConceptAttentionFlux2Pipeline": ".authors.flux2",
    "ConceptAttentionFluxPipeline": ".authors.flux",
    "ConceptAttentionOutput": ".authors.output",
    "ConceptAttentionSD3Pipeline": ".authors.sd3",
    "ConceptLabeller": ".labelling.labeller",
    "ConfusionMatrix": ".evaluation.metrics",
    "FolderSink": ".labelling.sink",
    "Heatmaps": ".heatmaps.heatmaps",
    "LabelSettings": ".labelling.settings",
    "Recording": ".recording.recording",
    "UserError": ".errors",
    "average_precision": ".evaluation.metrics",
    "label": ".labelling.run",
    "layer_step_figure": ".drawing.figures",
    "load_recording": ".recording.file",
    "make_heatmaps": ".heatmaps.heatmaps",
    "make_masks": ".heatmaps.masks",
    "open_source": ".labelling.sources",
    "overlay_each": ".drawing.overlay",
    "overlay_grid": ".drawing.overlay",
    "overlay_segmentation": ".drawing.overlay",
    "parse_concepts": ".concepts",
    "save_recording": ".recording.file",
    "sharpen_heatmaps": ".heatmaps.guided",
    "summarise": ".heatmaps.summary",
    "summary_text": ".heatmaps.summary",
}
__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name], __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
