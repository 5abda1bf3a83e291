"""Tiny models of the Flux 2 adapter."""

from __future__ import annotations

from concept_attention.hosts.comfyui.adapters.flux2 import Flux2

from .double_stream import tiny_double_stream
from .tiny_architecture import TinyArchitecture

_SIZES = {
    "image_model": "flux2",
    "in_channels": 128,
    "out_channels": 128,
    "patch_size": 1,
    "vec_in_dim": None,
    "axes_dim": [16, 16, 16, 16],
    "mlp_ratio": 3.0,
    "theta": 2000,
    "qkv_bias": False,
    "txt_ids_dims": [3],
    "global_modulation": True,
    "mlp_silu_act": True,
    "ops_bias": False,
    "default_ref_method": "index",
    "ref_index_scale": 10.0,
}


def _variant(name: str, guidance: bool, position: int) -> TinyArchitecture:
    config = {**_SIZES, "guidance_embed": guidance}
    return tiny_double_stream(name, Flux2(), "flux2", "Flux2", config, latent=(1, 128, 6, 4), position=position)


VARIANTS = (_variant("Flux.2 dev", guidance=True, position=510), _variant("Flux.2 Klein", guidance=False, position=3))
