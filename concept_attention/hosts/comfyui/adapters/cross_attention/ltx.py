"""LTX Video, LTX-2, 2.3 and 2.5 in ComfyUI.

Follows `BasicTransformerBlock` and `apply_cross_attention_adaln` of comfy/ldm/lightricks/model.py and
`BasicAVTransformerBlock` of av_model.py (0.19 to 0.33). LTX-2's video and sound attend to texts of their own; the
video's is read. Its connector mixes the tokens of a text with learned ones: every concept goes through it as a prompt.

Convention: image tokens are frame by frame, row-major; a guide's frames are the latent's last ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from comfy.ldm.lightricks.model import LTXBaseModel
from torch import Tensor

from ....architecture import Architecture, middle_layers
from ....encoded import ConceptText
from ...guard import NotRecordable
from ..block_call import BlockCall
from ..network import Layers, network_of
from .adapter import CrossAdapter, CrossModules, Grid


class LTX(CrossAdapter):
    supported = ("LTX Video", "LTX-2")

    def matches(self, model: Any) -> bool:
        return isinstance(network_of(model), LTXBaseModel)

    def describe(self, model: Any) -> Architecture:
        network = network_of(model)
        count = len(network.transformer_blocks)
        return Architecture(
            name="ltx2" if _has_sound(network) else "ltxv",
            layer_count=count,
            text_width=_text_width(network),
            patch=1,
            default_layers=middle_layers(count, 1 / 3),
            frames_per_latent=8,
            reading="cross",
        )

    def layers(self, network: Any) -> Layers:
        return network.transformer_blocks

    def cross_modules(self, block: Any) -> CrossModules:
        attn = block.attn2
        return CrossModules(attn.q_norm, attn.k_norm, attn.to_out, attn.heads)

    def concept_tokens(self, network: Any, text: ConceptText) -> Tensor:
        if not _has_sound(network):
            return text.tokens
        unprocessed = bool(text.options.get("unprocessed_ltxav_embeds"))
        context = network.preprocess_text_embeds(text.states[None], unprocessed=unprocessed)
        width = network.inner_dim if network.caption_proj_before_connector else network.caption_channels
        return context[0, slice(*text.own), :width]

    def refine_tokens(
        self, network: Any, tokens: Sequence[Tensor], texts: Sequence[ConceptText], call: BlockCall
    ) -> Sequence[Tensor]:
        if network.caption_proj_before_connector:
            return tokens
        return [network.caption_projection(part) for part in tokens]

    def concept_keys(self, block: Any, tokens: Tensor, call: BlockCall) -> Tensor:
        if getattr(block, "cross_attention_adaln", False):
            table = block.prompt_scale_shift_table[None, None].to(tokens)
            timestep = call.arguments.get("v_prompt_timestep", call.arguments.get("prompt_timestep"))
            if timestep is not None:  # of a model that modulates the text by it, too
                timestep = call.select(timestep)
                table = table + timestep.reshape(*timestep.shape[:2], 2, -1)
            shift, scale = table.unbind(dim=2)
            tokens = tokens * (1 + scale) + shift
        return block.attn2.k_norm(block.attn2.to_k(tokens))

    def text_bias(self, call: BlockCall) -> Tensor | None:
        mask = call.arguments.get("attention_mask")
        return mask if mask is None or mask.ndim == 4 else mask[:, None, None]

    def image_tokens(self, network: Any, call: BlockCall, count: int, grid: Grid) -> tuple[slice, Grid]:
        if count < grid[0] * grid[1] * grid[2]:
            raise NotRecordable("guide frames with a mask leave out image tokens, and which ones cannot be told")
        return super().image_tokens(network, call, count, grid)


def _has_sound(network: Any) -> bool:
    return hasattr(network, "video_embeddings_connector")


def _text_width(network: Any) -> int:
    """Width of the states that the model's own text encoder gives."""
    projected = _has_sound(network) and network.caption_proj_before_connector
    if projected and not network.caption_projection_first_linear:  # 2.3: a text for the video, and one for the sound
        return int(network.cross_attention_dim + network.audio_cross_attention_dim)
    return int(network.caption_channels)
