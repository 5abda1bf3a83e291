"""Wan's pipelines that make a video from a prompt alone."""

from __future__ import annotations

from typing import Any

from ..networks import network_of, networks_of
from .other import OtherFamily


class WanFamily(OtherFamily):
    """See `OtherFamily`."""

    def __init__(self) -> None:
        names = {
            "wan2.1-1.3b": "Wan-AI/Wan2.1-T2V-1.3B-Diffusers",
            "wan2.1-14b": "Wan-AI/Wan2.1-T2V-14B-Diffusers",
            "wan2.2-14b": "Wan-AI/Wan2.2-T2V-A14B-Diffusers",
        }
        super().__init__("Wan", ("WanPipeline",), names, video=True, usual={"frame_rate": 16.0})

    def network_at(self, pipeline: Any, noise: float) -> Any:
        """Wan 2.2 has a network for much noise and one for little."""
        networks, boundary = networks_of(pipeline), pipeline.config.get("boundary_ratio")
        return network_of(pipeline) if boundary is None or noise >= boundary else networks["transformer_2"]
