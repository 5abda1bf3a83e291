"""Tiny models of the AuraFlow adapter."""

from __future__ import annotations

from concept_attention.hosts.comfyui.adapters.auraflow import AuraFlow

from .tiny_architecture import TinyArchitecture

VARIANTS = (
    TinyArchitecture(
        name="AuraFlow",
        adapter=AuraFlow(),
        architecture="auraflow",
        kind="AuraFlow",
        config={
            "max_seq": 256,
            "cond_seq_dim": 48,
            "n_double_layers": 3,
            "n_layers": 4,
            "dim": 128,
            "n_heads": 2,
            "global_conddim": 128,
        },
        latent=(1, 4, 12, 8),
        grid=(1, 6, 4),
        text_width=48,
        project=lambda network, embeddings, calls: network.cond_seq_linear(embeddings),
        swap=lambda arguments, concept: {**arguments, "c": concept},
        text_in=lambda arguments: arguments["c"],
        text_out=lambda output: output[0],
    ),
)
