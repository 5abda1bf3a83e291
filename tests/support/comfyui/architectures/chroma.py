"""Tiny models of the Chroma adapter."""

from __future__ import annotations

import torch
from comfy.ldm.chroma_radiance.model import ChromaRadianceParams

from concept_attention.hosts.comfyui.adapters.chroma import Chroma

from .double_stream import tiny_double_stream

_SIZES = {
    "image_model": "chroma",
    "in_channels": 64,
    "out_channels": 64,
    "patch_size": 2,
    "vec_in_dim": None,
    "theta": 10000,
    "txt_ids_dims": [],
    "in_dim": 64,
    "out_dim": 128,
    "hidden_dim": 64,
    "n_layers": 1,
}
_RADIANCE = {
    **_SIZES,
    "image_model": "chroma_radiance",
    "in_channels": 3,
    "out_channels": 3,
    "patch_size": 16,
    "nerf_hidden_size": 32,
    "nerf_mlp_ratio": 2,
    "nerf_depth": 1,
    "nerf_max_freqs": 4,
    "nerf_tile_size": 512,
    "nerf_final_head_type": "linear",
    "nerf_embedder_dtype": torch.float32,
    "use_x0": False,
}
if "use_sequential_txt_ids" in ChromaRadianceParams.__dataclass_fields__:  # as of ComfyUI 0.33, not of 0.19
    _RADIANCE["use_sequential_txt_ids"] = True

VARIANTS = (
    tiny_double_stream("Chroma", Chroma(), "chroma", "Chroma", _SIZES),
    tiny_double_stream("Chroma Radiance", Chroma(), "chroma", "ChromaRadiance", _RADIANCE, latent=(1, 3, 96, 64)),
)
