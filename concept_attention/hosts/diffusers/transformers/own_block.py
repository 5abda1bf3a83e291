"""The base classes of adapters that let a joint block itself run on the concepts.

Where a block has just attended, it is called once more: with the concepts in the prompt's place and without the image,
whose keys and values are given to its attention call instead. So every projection, norm, rotation, gate and expert of
the text path is the model's own code. A family says which arguments these are.

Some kernels take no empty batch: where image and text are two arguments, one image token goes along. It is neither
attended to nor does it attend.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from ...architecture import AUTHORS_FLUX_LAYERS, Architecture, last_layers, last_read_layers
from ..attention_calls import AttentionCall, each_head, listening
from ..watch import AttentionWatch, BlockCall
from .adapter import Adapter, Attend, Heads

Tokens = slice | Tensor | Sequence[slice | Tensor]  # positions in a sequence, the same in each row or each row's own
ALONG = 1  # image tokens that go along


class OwnBlockAdapter(Adapter):
    """Concept tokens in one family of transformers, through calls of the whole block.

    Attributes:
        along: image tokens that go along in a call of a block on concepts.
        text_first: whether these come after the concepts in the attention.
        text_goes_on: whether the text of the last joint block is read by other blocks.
    """

    watch = AttentionWatch
    along: ClassVar[int] = 0
    text_first: ClassVar[bool] = True
    text_goes_on: ClassVar[bool] = False

    def default_layers(self, layer_count: int) -> tuple[int, ...]:
        """As many as the authors choose of Flux 1."""
        choose = last_layers if self.text_goes_on else last_read_layers
        return choose(layer_count, AUTHORS_FLUX_LAYERS)

    @abstractmethod
    def image_tokens(self, call: BlockCall, keys: int) -> Tokens:
        """Where the image's tokens are among the `keys` tokens of a block's attention.

        Those of what is made come first, then those of reference images.
        """

    @abstractmethod
    def concept_arguments(self, concept: Tensor, call: BlockCall) -> dict[str, Any]:
        """The arguments of a call of the block on concept tokens (B, C, D)."""

    def concept_tokens(self, output: Any) -> Tensor:
        """The concept tokens (B, C, D) in what such a call returns."""
        return output if self.text_output is None else output[self.text_output]

    def attend_concepts(
        self, block: Any, concept: Tensor, vec: Any, attend: Attend, call: BlockCall
    ) -> tuple[Tensor, Heads, Any]:
        outs, heads, count = list[Tensor](), list[Heads](), concept.shape[1]

        def answer(attention: AttentionCall) -> Tensor:
            done = sum(map(len, outs))
            if done == len(concept):  # some blocks have another attention behind the joint one
                return attention.run()
            parts = (attention.scaled_query, *map(attention.heads_first, (attention.key, attention.value)))
            own = slice(None, count) if self.text_first else slice(-count, None)
            query, key, value = (each_head(part[:, :, own], parts[0].shape[1]) for part in parts)
            out = attend(query, key, value, slice(done, done + len(query)))
            heads.append(Heads(query, key, value))
            outs.append(out)
            missing = attention.heads_first(attention.query).shape[2] - count
            out = F.pad(out, (0, 0, 0, missing) if self.text_first else (0, 0, missing, 0))
            return attention.heads_first(out.unflatten(-1, (query.shape[1], -1)).transpose(1, 2))

        with listening(answer):
            # Not the module itself: caches and offloading have hooks of their own on it, for the model's call.
            output = type(block).forward(block, **self.concept_arguments(concept, call))
        joined = Heads(*(torch.cat(part) for part in zip(*heads, strict=True)))
        return torch.cat(outs), joined, self.concept_tokens(output)

    def update_concepts(self, block: Any, concept: Tensor, concept_out: Tensor, modulation: Tensor) -> Tensor:
        """The block has done it already."""
        return modulation


class TwoStreamAdapter(OwnBlockAdapter):
    """A family whose blocks take `hidden_states` of the image, `encoder_hidden_states` of the text, and `temb`."""

    along = ALONG

    def image_tokens(self, call: BlockCall, keys: int) -> Tokens:
        count = call.arguments["hidden_states"].shape[1]
        return slice(keys - count, keys) if self.text_first else slice(0, count)

    def concept_arguments(self, concept: Tensor, call: BlockCall) -> dict[str, Any]:
        """All arguments, with concepts for text, one image token, the observed rows of `temb`, and no mask."""
        given = call.arguments
        own: dict[str, Any] = {
            "hidden_states": call.select(given["hidden_states"])[:, : self.along],
            "encoder_hidden_states": concept,
        }
        if "temb" in given:
            own["temb"] = call.select(given["temb"])
        own |= {name: None for name in given if name.endswith("mask")}
        return {**given, **own, **self.position_arguments(concept, call)}

    def position_arguments(self, concept: Tensor, call: BlockCall) -> dict[str, Any]:
        """Arguments that depend on a token's position: those of the concepts, and of the image token."""
        return {}


class FluxLikeAdapter(TwoStreamAdapter):
    """A family with Flux's arguments: position ids of text and image, one rotation for both, text first.

    Attributes:
        concept_position: index of the text token whose position every concept takes.
    """

    concept_position: ClassVar[int] = 0
    text_goes_on = True

    def describe(self, transformer: Any) -> Architecture:
        return replace(super().describe(transformer), concept_position=self.concept_position)

    def text_width(self, transformer: Any) -> int:
        return int(transformer.config.joint_attention_dim)

    def target_grid(self, transformer: Any, arguments: Any) -> tuple[int, int, int]:
        return grid_of_ids(arguments["img_ids"])

    def project_concepts(self, transformer: Any, embeddings: Tensor, call: BlockCall) -> Tensor:
        return transformer.context_embedder(embeddings)

    def position_arguments(self, concept: Tensor, call: BlockCall) -> dict[str, Any]:
        text = call.arguments["encoder_hidden_states"].shape[1]
        turns = call.arguments["image_rotary_emb"]
        return {"image_rotary_emb": tuple(at_positions(one, 0, self.concept_position, concept, text) for one in turns)}


class OneStreamAdapter(OwnBlockAdapter):
    """A family whose blocks take text and image as one sequence, on the same weights."""

    text_argument = "hidden_states"
    text_output = None


def grid_of_ids(ids: Tensor) -> tuple[int, int, int]:
    """The token grid (T, H, W) of position ids (N, axes) whose second and third axis are row and column.

    Those of reference images, which come after the target's, differ in the first.
    """
    ids = ids[0] if ids.ndim == 3 else ids
    target = ids[ids[:, 0] == ids[0, 0]]
    columns = int((target[:, 1] == target[0, 1]).sum())
    return 1, len(target) // columns, columns


def at_positions(turns: Tensor, axis: int, position: int, concept: Tensor, image: int | None = None) -> Tensor:
    """What one position has, once for every concept; then what the image token at `image` has, if one goes along.

    Args:
        turns: rotations or modulations of all tokens.
        axis: of the tokens.
        position: of the text token whose place the concepts take.
        concept: concept tokens, (B, C, D).
        image: of the image token, behind the concepts.
    """
    places = [position] * concept.shape[1] + ([] if image is None else [image])
    return turns.index_select(axis, torch.tensor(places, device=turns.device))
