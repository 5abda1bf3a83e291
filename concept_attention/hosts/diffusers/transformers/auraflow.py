"""AuraFlow in diffusers: 0.1 to 0.3 and fine-tunes such as Pony V7.

Arguments are those of `AuraFlowJointTransformerBlock.forward` of diffusers/models/transformers/
auraflow_transformer_2d.py (0.42).

Convention: eight register tokens come first, then the prompt's, then the image's, row-major over 2x2 latent pixels.
Text has no positions. Register tokens count as text, because they read the prompt from the first block on: concepts do
not attend to them.
"""

from __future__ import annotations

from typing import Any

from diffusers import AuraFlowTransformer2DModel
from diffusers.models.transformers.auraflow_transformer_2d import AuraFlowJointTransformerBlock
from torch import Tensor

from ..named import Arguments
from ..watch import BlockCall
from .own_block import TwoStreamAdapter


class AuraFlow(TwoStreamAdapter):
    """The adapter of AuraFlow."""

    name = "auraflow"
    transformer_class = AuraFlowTransformer2DModel
    block_class = AuraFlowJointTransformerBlock
    blocks = "joint_transformer_blocks"
    text_goes_on = True

    def text_width(self, transformer: Any) -> int:
        return int(transformer.config.joint_attention_dim)

    def target_grid(self, transformer: Any, arguments: Arguments) -> tuple[int, int, int]:
        *_, height, width = arguments["hidden_states"].shape
        patch = transformer.config.patch_size
        return 1, height // patch, width // patch

    def project_concepts(self, transformer: Any, embeddings: Tensor, call: BlockCall) -> Tensor:
        return transformer.context_embedder(embeddings)
