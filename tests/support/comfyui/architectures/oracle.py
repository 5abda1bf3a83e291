"""Expected scores of concepts, from the host's own joint blocks run with the concepts instead of the prompt.

Concept attention lets concepts see the image and each other, never the prompt. That is what a joint block does with a
prompt that consists of the concepts: its text tokens are the concepts' attention output, and its text output the
updated concepts. The image tokens that go into every block are those of the real run. No adapter code takes part.
"""

from __future__ import annotations

import functools
import inspect
import math
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F
from comfy.model_patcher import ModelPatcher
from comfy.patcher_extension import WrappersMP
from torch import Tensor, nn

from concept_attention.hosts.comfyui.adapters.block_call import OPTIONS, ModuleCall, named_arguments, with_argument
from concept_attention.hosts.comfyui.engine.settings import Settings
from concept_attention.recording.recording import Recording

from ...numbers import naive_scores
from ..recording_spy import recording_of
from .tiny_architecture import Arguments, TinyArchitecture

OVERRIDE = "optimized_attention_override"


@dataclass(eq=False)
class Passed:
    """One forward pass of a network.

    Attributes:
        arguments: of every joint block, copied before it ran.
        attended: output of its first attention, (B, S, D).
        calls: the first one of each of the network's own children.
    """

    arguments: list[Arguments] = field(default_factory=list)
    attended: list[Tensor] = field(default_factory=list)
    calls: dict[str, ModuleCall] = field(default_factory=dict)


def takes_no_options(block: Any) -> bool:
    """Whether the host hands a block no options; its attention is looked up in its module then."""
    parameters = inspect.signature(type(block).forward).parameters.values()
    return not any(one.name == "transformer_options" or one.kind is one.VAR_KEYWORD for one in parameters)


@contextmanager
def observing(network: Any, blocks: Any) -> Iterator[Passed]:
    """Note what a forward pass does, and change nothing."""
    passed = Passed()

    def call_of(name: str) -> Callable[..., None]:
        def called(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            passed.calls.setdefault(name, ModuleCall(args, output))  # later ones may be those of a concept stream

        return called

    def before(block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        arguments = named_arguments(block, args, kwargs)
        passed.arguments.append(_copied(arguments))
        count = len(passed.arguments)
        options = arguments.get("transformer_options") or {}
        theirs = options.get(OVERRIDE)
        if takes_no_options(block):
            return None

        def attend(attention: Any, *args: Any, **kwargs: Any) -> Any:
            output = attention(*args, **kwargs) if theirs is None else theirs(attention, *args, **kwargs)
            if len(passed.attended) < count:
                flat = output.transpose(1, 2).flatten(2) if kwargs.get("skip_output_reshape") else output
                passed.attended.append(flat.clone())
            return output

        return with_argument(block, args, kwargs, OPTIONS, {**options, OVERRIDE: attend})

    def attended(attention: Any, *args: Any, **kwargs: Any) -> Any:
        output = attention(*args, **kwargs)
        if len(passed.attended) < len(passed.arguments):
            passed.attended.append(output.clone())
        return output

    with ExitStack() as undo:
        for module in {sys.modules[type(block).__module__] for block in blocks if takes_no_options(block)}:
            spy = functools.partial(attended, module.optimized_attention)
            undo.enter_context(mock.patch.object(module, "optimized_attention", spy))
        for name, child in network.named_children():
            undo.callback(child.register_forward_hook(call_of(name)).remove)
        for block in blocks:
            undo.callback(block.register_forward_pre_hook(before, with_kwargs=True).remove)
        yield passed


def spied(model: ModelPatcher, blocks_of: Callable[[Any], Any], look: Callable[[Any, Passed], None]) -> ModelPatcher:
    """A clone that shows each of its forward passes, right after it."""

    def spy(executor: Any, *args: Any, **kwargs: Any) -> Any:
        network = executor.class_obj.diffusion_model
        with observing(network, blocks_of(network)) as passed:
            output = executor(*args, **kwargs)
        look(network, passed)
        return output

    clone = model.clone()
    clone.add_wrapper_with_key(WrappersMP.APPLY_MODEL, "spy", spy)
    return clone


def recorded_and_expected(
    tiny: TinyArchitecture, model: ModelPatcher, settings: Settings, **options: Any
) -> tuple[Recording, Tensor]:
    """A recording of all layers and steps, without guidance, and the scores it should have, (S, L, B, C, N)."""
    expected: list[Tensor] = []

    def look(network: Any, passed: Passed) -> None:
        blocks = tiny.adapter.joint_blocks(network)
        expected.append(expected_scores(tiny, network, blocks, passed, settings.encoded.embeddings))

    recording = recording_of(spied(model, tiny.adapter.joint_blocks, look), settings, **options)
    return recording, torch.stack(expected)


@torch.no_grad()
def expected_scores(tiny: TinyArchitecture, network: Any, blocks: Any, passed: Passed, embeddings: Tensor) -> Tensor:
    """Scores of every layer, (L, B, C, N), for concepts with these embeddings, (C, E); every padding token is there."""
    asked, tokens = len(embeddings), math.prod(tiny.grid)
    embeddings = F.pad(embeddings, (0, 0, 0, max(0, tiny.padded - asked)))
    count = len(embeddings)
    images = []
    for arguments, output in zip(passed.arguments, passed.attended, strict=True):
        image = output if tiny.image_first else output[:, tiny.text_in(arguments).shape[1] :]
        images.append(image[:, -tokens:] if tiny.target_last else image[:, :tokens])
    batch = images[0].shape[0]
    embeddings = embeddings.to(images[0])[None].repeat(batch, 1, 1)
    concept = tiny.project(network, embeddings, passed.calls).to(embeddings).expand(batch, -1, -1)
    concepts = []
    for block, arguments in zip(blocks, passed.arguments, strict=True):
        swapped = tiny.swap(_copied(arguments), concept.clone())
        with tiny.around(block, network, passed.calls), observing(network, [block]) as again:
            output = block(**swapped)
        attended = again.attended[0]
        concepts.append(attended[:, -count:] if tiny.image_first else attended[:, :count])
        following = tiny.text_out(output)
        concept = concept if following is None else following[:, :count]
    return naive_scores(images, concepts)[:, :, :asked]


def _copied(value: Any) -> Any:
    """Tensors copied, however deep: the host updates some in place."""
    if isinstance(value, Tensor):
        return value.clone()
    if isinstance(value, Mapping):
        return {name: one if name == "transformer_options" else _copied(one) for name, one in value.items()}
    if isinstance(value, (tuple, list)) and type(value) in (tuple, list):
        return type(value)(map(_copied, value))
    return value
