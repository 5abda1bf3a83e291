"""Concepts through whatever a pipeline encodes its prompts with, each as a prompt of its own."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import torch
from diffusers.modular_pipelines import PipelineState
from torch import Tensor, nn

from ....choices import Pooling
from ....concepts import Concept
from ....errors import UserError
from ...encoded import ConceptText, EncodedConcepts, pool, resolve_pooling
from ...token_spans import REFERENCE_TEXTS, word_span
from ...unknown_words import unknown_words_message
from ..adapters import described
from ..eager import eager
from ..named import named
from ..networks import network_of

BIDIRECTIONAL = ("t5", "umt5", "bert")  # model types whose tokens read what comes after them


@dataclass
class Reading:
    """What a text encoder was given and the transformer gets of it.

    Attributes:
        encoder: the text encoder.
        ids: the token ids, with everything around the text.
        valid: how many of them are no padding, if the encoder was told.
        states: the transformer's text input, (T, E).
        to_front: whether padding before the text was moved behind it.
    """

    encoder: Any
    ids: list[int]
    valid: int | None = None
    states: Tensor = field(default_factory=lambda: torch.empty(0))
    to_front: bool = False

    def dropped(self, padding_kept: bool) -> int:
        """How many tokens at the beginning, those of a template or padding, are not there in the transformer's input.

        Args:
            padding_kept: whether the padding is there.
        """
        if self.to_front and self.valid is not None:
            return len(self.ids) - self.valid
        read = len(self.ids) if padding_kept or self.valid is None else self.valid
        return max(0, read - len(self.states))


def encode_as_prompts(
    pipeline: Any,
    tokenizer: Any,
    concepts: Sequence[Concept],
    pooling: Pooling,
    max_tokens: int,
    width: int | None = None,
    **options: Any,
) -> EncodedConcepts:
    """Encode each concept as the pipeline encodes a prompt, and pool its own tokens.

    `auto` pools the last token where a token has only read those before it, else the mean.

    Args:
        pipeline: that encodes.
        tokenizer: of its text encoder.
        concepts, pooling, max_tokens: see `encode_concepts`.
        width: of the embeddings; None is what the model takes.
        options: further arguments of the pipeline's `encode_prompt`.

    Raises:
        UserError: for a pipeline that cannot encode a prompt by itself, a text without tokens of its own or longer than
            a prompt, and words that the tokenizer does not know.
    """
    width = described(network_of(pipeline)).text_width if width is None else width
    unknown = getattr(tokenizer, "unk_token_id", None)
    options = {**_device(pipeline), **options}
    references = [_read(pipeline, text, width, max_tokens, options) for text in REFERENCE_TEXTS]
    longer = _read(pipeline, " ".join(REFERENCE_TEXTS * 2), width, max_tokens, options)
    padded = any(one.valid != len(one.ids) for one in references)
    padding_kept = len(longer.states) == len(references[0].states)
    pooled, counts, used, texts = [], [], pooling, []
    for concept in concepts:
        reading = _read(pipeline, concept.text, width, max_tokens, options)
        begin, end = word_span(reading.ids, [one.ids for one in references])
        dropped = min(reading.dropped(padding_kept), begin)  # the rest is dropped at the end
        if unknown in reading.ids[begin:end]:
            raise UserError(unknown_words_message(tokenizer, concept.text))
        if begin == end:
            raise UserError(
                f'Concept "{concept.name}" has no tokens: the text encoder reads it as nothing. Rephrase its text.'
            )
        full = padded and reading.valid == len(reading.ids)  # no padding where there is some else
        if full or end - dropped > len(reading.states):
            raise UserError(f'Concept "{concept.name}" is longer than what fits into a prompt. Rephrase it.')
        used = resolve_pooling(pooling, causal=_model_type(reading.encoder) not in BIDIRECTIONAL)
        text = ConceptText(reading.states, (begin - dropped, end - dropped))
        pooled.append(pool(text.tokens, used))
        counts.append(end - begin)
        texts.append(text.read_by(pooling))
    return EncodedConcepts(tuple(concepts), torch.stack(pooled), tuple(counts), used, texts=tuple(texts))


def _read(pipeline: Any, text: str, width: int, max_tokens: int, options: Mapping[str, Any]) -> Reading:
    """How the pipeline encodes a prompt."""
    readings: list[Reading] = []
    with ExitStack() as undo:
        for encoder in _encoders(pipeline):
            undo.callback(encoder.register_forward_pre_hook(_note_call(readings), with_kwargs=True).remove)
            table = encoder.get_input_embeddings()
            undo.callback(table.register_forward_pre_hook(_note_lookup(readings, encoder)).remove)
        encoded = encode_text(pipeline, text, max_tokens, options)
        connectors = getattr(pipeline, "connectors", None)  # of LTX-2, a part of the pipeline
        if connectors is not None:
            encoded = connectors(*encoded[:2], padding_side=pipeline.tokenizer.padding_side)
    states = next(_states(encoded, width), None)
    known = sum(_hidden_size(one.encoder) for one in readings) == width or connectors is not None  # side by side
    reading = next((one for one in readings if known or width % _hidden_size(one.encoder) == 0), None)
    if states is None or reading is None:
        raise UserError(
            f"It is not known how this {type(pipeline).__name__} encodes a concept. Give `record` an `EncodedConcepts` "
            "with an embedding for each."
        )
    reading.states, reading.to_front = states, connectors is not None
    return reading


def _encoders(pipeline: Any) -> list[Any]:
    """All text encoders, those with prompts of the transformer's width among them."""
    parts = {id(part): part for part in pipeline.components.values() if isinstance(part, nn.Module)}
    return [part for part in map(eager, parts.values()) if hasattr(part, "get_input_embeddings") and _hidden_size(part)]


def _note_call(readings: list[Reading]) -> Any:
    """A hook that notes what a text encoder is called with."""

    def note(module: nn.Module, args: tuple[Any, ...], options: Mapping[str, Any]) -> None:
        given = named(module, args, options)
        ids, mask = given.get("input_ids"), given.get("attention_mask")
        valid = int(mask[0].sum()) if isinstance(mask, Tensor) and mask.ndim == 2 else None
        readings.append(Reading(module, ids[0].tolist() if isinstance(ids, Tensor) else [], valid))

    return note


def _note_lookup(readings: list[Reading], encoder: Any) -> Any:
    """A hook that notes the tokens where only the encoder's layers are called, or it is given their embeddings."""

    def note(module: nn.Module, args: tuple[Any, ...]) -> None:
        ids = args[0].reshape(len(args[0]), -1)[0].tolist()
        if not readings or readings[-1].encoder is not encoder:
            readings.append(Reading(encoder, ids))
        elif not readings[-1].ids:
            readings[-1].ids = ids

    return note


def encode_text(pipeline: Any, text: str, max_tokens: int, options: Mapping[str, Any]) -> Any:
    """What a pipeline makes of a prompt, in whatever form; of a modular one, by name, all that its text encoder sets.

    Args:
        pipeline, max_tokens, options: as in `encode_as_prompts`.
        text: the prompt.

    Raises:
        UserError: for a pipeline that cannot encode a prompt by itself.
    """
    if hasattr(pipeline, "encode_prompt"):
        return pipeline.encode_prompt(**{**_prompt_arguments(pipeline, text, max_tokens), **options})
    steps = getattr(getattr(pipeline, "blocks", None), "sub_blocks", {})
    step = next((step for name, step in steps.items() if "text_encoder" in name), None)
    if step is None:
        raise UserError(
            f"This {type(pipeline).__name__} encodes no prompts. Encode the concepts with a pipeline that does, "
            "and give `record` the result."
        )
    state = PipelineState()
    state.set("prompt", text)
    state.set("max_sequence_length", max_tokens)
    _, state = step(pipeline, state)
    return {**{name: value for name, value in state.values.items() if name == "prompt_embeds"}, **state.values}


def _device(pipeline: Any) -> dict[str, Any]:
    """The device, for `encode_prompt`: a pipeline looks at all of its modules each time to find it."""
    takes = inspect.signature(pipeline.encode_prompt).parameters if hasattr(pipeline, "encode_prompt") else {}
    return {"device": pipeline._execution_device} if "device" in takes else {}


def _prompt_arguments(pipeline: Any, text: str, max_tokens: int) -> dict[str, Any]:
    """Arguments of `encode_prompt`, of which every class has some others."""
    known: dict[str, Any] = {
        "prompt": [text],
        "do_classifier_free_guidance": False,
        "num_images_per_prompt": 1,
        "num_videos_per_prompt": 1,
        "max_sequence_length": max_tokens,
        "grid_h": 1,
        "grid_w": 1,
    }
    given = {}
    for name, parameter in inspect.signature(pipeline.encode_prompt).parameters.items():
        if name in known:
            given[name] = known[name]
        elif name.startswith("prompt_") and name[7:].isdigit():  # the same text for the other encoders
            given[name] = [text]
        elif parameter.default is parameter.empty and parameter.kind is parameter.POSITIONAL_OR_KEYWORD:
            given[name] = None
    return given


def _states(encoded: Any, width: int) -> Iterator[Tensor]:
    """Text states of the first prompt, (T, E), among all that was encoded.

    Those of several depths lie side by side, also where their axis comes before that of the tokens, as in Fibo 2.
    """
    if isinstance(encoded, Tensor):
        first = encoded[0] if encoded.ndim > 2 else encoded
        for states in (encoded, first, first.transpose(0, 1)):
            if states.ndim >= 2 and states.is_floating_point() and states.flatten(1).shape[-1] == width:
                yield states.flatten(1)
    elif isinstance(encoded, Mapping):
        for part in encoded.values():
            yield from _states(part, width)
    elif isinstance(encoded, (tuple, list)):
        for part in encoded:
            yield from _states(part, width)


def _config(encoder: Any) -> Any:
    config = encoder.config
    return getattr(config, "text_config", None) or config


def _hidden_size(encoder: Any) -> int:
    config = _config(encoder)
    return int(getattr(config, "hidden_size", 0) or getattr(config, "d_model", 0) or 0)


def _model_type(encoder: Any) -> str:
    return str(getattr(_config(encoder), "model_type", ""))
