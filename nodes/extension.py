"""The list of this pack's nodes for ComfyUI."""

from __future__ import annotations

from comfy_api.latest import ComfyExtension, io

from .act import ConceptLora, ConceptStrength
from .analyze import ConceptAttentionEncodeImage
from .animations import add_route
from .best import ConceptBestOf
from .boxes import ConceptBoxes
from .check import ConceptCheck
from .dataset import ConceptDatasetSave
from .encode import ConceptEncode
from .heatmaps import ConceptHeatmaps
from .masks import ConceptHeatmapToMask
from .model import ConceptAttentionTinyModel
from .patch import ConceptAttentionCollect, ConceptAttentionPatchModel
from .region import ConceptRegion, ConceptRegionMask
from .sample import ConceptAttentionKSampler, ConceptAttentionSamplerCustom
from .show import ConceptHeatmapOverlay, ConceptHeatmapPlot
from .store import ConceptRecordingLoad, ConceptRecordingSave
from .view import ConceptHeatmapViewer

NODES: tuple[type[io.ComfyNode], ...] = (
    ConceptAttentionTinyModel,
    ConceptEncode,
    ConceptAttentionPatchModel,
    ConceptAttentionCollect,
    ConceptAttentionKSampler,
    ConceptAttentionSamplerCustom,
    ConceptAttentionEncodeImage,
    ConceptHeatmaps,
    ConceptHeatmapToMask,
    ConceptHeatmapOverlay,
    ConceptHeatmapPlot,
    ConceptHeatmapViewer,
    ConceptRecordingSave,
    ConceptRecordingLoad,
    ConceptDatasetSave,
    ConceptRegion,
    ConceptLora,
    ConceptStrength,
    ConceptRegionMask,
    ConceptCheck,
    ConceptBestOf,
    ConceptBoxes,
)


class ConceptAttentionExtension(ComfyExtension):
    async def on_load(self) -> None:
        add_route()

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return list(NODES)
