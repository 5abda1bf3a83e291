"""Wan's pipelines that make a video from a prompt alone."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ....errors import UserError
from ..networks import networks_of
from .other import OtherFamily
from .request import Request


class WanFamily(OtherFamily):
    """See `OtherFamily`."""

    def __init__(self) -> None:
        names = {
            "wan2.1-1.3b": "Wan-AI/Wan2.1-T2V-1.3B-Diffusers",
            "wan2.1-14b": "Wan-AI/Wan2.1-T2V-14B-Diffusers",
            "wan2.2-14b": "Wan-AI/Wan2.2-T2V-A14B-Diffusers",
        }
        super().__init__("Wan", ("WanPipeline",), names, video=True, usual={"frame_rate": 16.0})

    def conditions(
        self, pipeline: Any, prompt: str, latents: Tensor, request: Request, noise: float, max_tokens: int
    ) -> dict[str, Any]:
        """As in `OtherFamily`.

        Raises:
            UserError: for Wan 2.2, of whose networks each looks at some noise levels only.
        """
        if len(networks_of(pipeline)) > 1:
            raise UserError(
                "Existing videos are not looked at with Wan 2.2, which has a network for much noise and one for "
                "little. Record a run inside of `with record(pipeline, concepts) as recording:`, or take Wan 2.1."
            )
        return super().conditions(pipeline, prompt, latents, request, noise, max_tokens)
