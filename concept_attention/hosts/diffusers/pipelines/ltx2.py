"""LTX-2's pipelines that make a video from a prompt alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from ....choices import Pooling, Reader
from ....concepts import Concept
from ....errors import UserError
from ...encoded import EncodedConcepts
from .latents import Latents, as_tokens
from .other import OtherFamily
from .request import Request


class LTX2Family(OtherFamily):
    """See `OtherFamily`. Videos are made with sound; existing ones are looked at without."""

    def __init__(self) -> None:
        super().__init__(
            "LTX-2",
            ("LTX2Pipeline",),
            {"ltx-2": "Lightricks/LTX-2", "ltx-2.3": "diffusers/LTX-2.3-Diffusers"},
            video=True,
            guidance_in_batch=True,
            usual={"num_frames": 121},
            latents=Latents(as_tokens),
        )

    def encode_concepts(
        self, pipeline: Any, concepts: Sequence[Concept], pooling: Pooling, max_tokens: int, reader: Reader
    ) -> EncodedConcepts:
        """As in `OtherFamily`.

        Raises:
            UserError: for another length of prompts than its connectors can fill up.
        """
        unit = pipeline.connectors.config.video_connector_num_learnable_registers or 1
        if max_tokens < unit or max_tokens % unit:
            raise UserError(
                f"Prompts of LTX-2 have a multiple of {unit} tokens, got max_tokens {max_tokens}. Try 1024."
            )
        return super().encode_concepts(pipeline, concepts, pooling, max_tokens, reader)

    def call_arguments(self, pipeline: Any, request: Request, batch: int) -> dict[str, Any]:
        """As in `OtherFamily`; where guidance is off, that of the sound is, too."""
        given = super().call_arguments(pipeline, request, batch)
        return given if request.cfg > 1 else {**given, "audio_guidance_scale": 1.0}

    def conditions(
        self, pipeline: Any, prompt: str, latents: Tensor, request: Request, noise: float, max_tokens: int
    ) -> dict[str, Any]:
        """As in `OtherFamily`; the video does not attend to the sound, which there is none of."""
        given = super().conditions(pipeline, prompt, latents, request, noise, max_tokens)
        return {**given, "isolate_modalities": True}
