"""LTX Video and LTX-2 in diffusers.

Follows `LTXVideoTransformerBlock` of diffusers/models/transformers/transformer_ltx.py and
`LTX2VideoTransformerBlock` of transformer_ltx2.py (0.42). LTX-2's video and sound attend to texts of their own; the
video's is read. Its connectors, which mix the tokens of a text with learned ones, are a part of the pipeline: concepts
have gone through them as prompts do.

Convention: image tokens are frame by frame, row-major.
"""

from __future__ import annotations

from typing import Any

from diffusers import LTX2VideoTransformer3DModel, LTXVideoTransformer3DModel
from diffusers.models.transformers.transformer_ltx import LTXVideoTransformerBlock
from diffusers.models.transformers.transformer_ltx2 import LTX2VideoTransformerBlock
from torch import Tensor

from ....encoded import ConceptText
from ....reasons import NotRecordable
from ...named import Arguments
from ...watch import BlockCall
from .adapter import CrossAdapter, Grid


class LTXVideo(CrossAdapter):
    """The adapter of LTX Video."""

    name = "ltxv"
    transformer_class = LTXVideoTransformer3DModel
    block_class = LTXVideoTransformerBlock
    projection = "caption_projection"
    frames_per_latent = 8

    def target_grid(self, transformer: Any, arguments: Arguments) -> Grid:
        frames, rows, columns = (arguments.get(name) for name in ("num_frames", "height", "width"))
        if frames is None or rows is None or columns is None:
            raise NotRecordable("its tokens are those of several videos or images, and which are made cannot be told")
        return frames, rows, columns


class LTX2(LTXVideo):
    """The adapter of LTX-2 and LTX-2.3."""

    name = "ltx2"
    transformer_class = LTX2VideoTransformer3DModel
    block_class = LTX2VideoTransformerBlock

    def text_width(self, transformer: Any) -> int:
        projects = getattr(transformer, "caption_projection", None) is not None
        return int(transformer.config["caption_channels" if projects else "cross_attention_dim"])

    def concept_tokens(self, transformer: Any, text: ConceptText, call: BlockCall) -> Tensor:
        if getattr(transformer, "caption_projection", None) is None:
            return text.tokens[None]
        return super().concept_tokens(transformer, text, call)

    def concept_arguments(self, module: Any, tokens: Tensor, call: BlockCall, given: Arguments) -> dict[str, Any]:
        """LTX-2.3 modulates the text in every layer, by the timestep if it has a module for that."""
        block, time = call.block, call.select(call.arguments.get("temb_prompt"))
        if block.cross_attn_adaln:
            table = block.prompt_scale_shift_table
            shift, scale = (
                table[None, None].to(tokens).unbind(dim=2)
                if time is None
                else block.get_mod_params(table, time, len(time))
            )
            tokens = tokens * (1 + scale) + shift
        return super().concept_arguments(module, tokens, call, given)
