"""ComfyUI (0.34 and newer) forgets cached outputs where it is short of memory, the largest first.

It knows tensors, and objects that name theirs.
"""

from typing import Any

import torch

from concept_attention.heatmaps.heatmaps import make_heatmaps
from concept_attention.recording.recording import in_float16

from ...support.recordings import small_recording


def counted(outputs: Any) -> int:
    """Bytes that this ComfyUI counts of a node's outputs."""
    if isinstance(outputs, torch.Tensor):
        return outputs.untyped_storage().nbytes() if outputs.device.type == "cpu" else 0
    if isinstance(outputs, list | tuple):
        return sum(counted(output) for output in outputs)
    return counted(outputs._comfy_cache_tensors()) if hasattr(outputs, "_comfy_cache_tensors") else 0


def test_a_recording_counts_with_all_its_tensors():
    recording = small_recording(pad_scores=torch.zeros(2, 2, 2, 6), pad_count=223)
    assert counted([[recording]]) == recording.nbytes == 4 * (2 * 2 * 2 * 3 * 6 + 2 * 2 * 2 * 3 + 2 * 2 * 2 * 6)
    assert counted([[in_float16(recording)]]) == in_float16(recording).nbytes
    masked = small_recording(regions=("sky",), region_masks=torch.ones(1, 2, 1, 4, 6))
    assert counted([[masked]]) == small_recording().nbytes + 4 * 2 * 4 * 6


def test_heatmaps_count():
    heatmaps = make_heatmaps(small_recording())
    assert counted([[heatmaps]]) == 4 * heatmaps.values.numel() > 0
