"""A LoRA that acts where a concept is, in the evaluations that there are anyway.

ComfyUI's bypass adapters compute what a LoRA adds to a layer, y = f(x) + h(x). Here h(x) of an image token is
multiplied by the mask at that token. What belongs to no place (text tokens, the modulation of all tokens) is multiplied
by the mask's mean over the picture. Where the mask is 0 everywhere the LoRA does nothing, where it is 1 it acts as
always.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import comfy.lora
import comfy.lora_convert
from comfy.patcher_extension import WrappersMP
from comfy.weight_adapter import WeightAdapterBase
from comfy.weight_adapter.bypass import BypassForwardHook
from torch import Tensor, nn

from ....errors import UserError
from ...encoded import EncodedConcepts
from ...own_run import is_own, own_run
from ..adapters.adapter import Adapter
from ..adapters.block_call import BlockCall, named_arguments
from ..adapters.network import running_eager
from ..adapters.registry import adapter_for
from ..engine.geometry import latent_pixels_per_token
from .place import LiveMask, Place, per_token
from .run import RunState, Wrappers

_PREFIX = "diffusion_model."
_OF_TEXT = ("txt", "context", "add_", "encoder")  # in names of layers that only text tokens pass through


@dataclass(frozen=True, eq=False)
class LoraSomewhere:
    """A LoRA that acts in a place in every run of a MODEL.

    Attributes:
        name: of the LoRA, for messages.
        weights: the file's tensors, by name.
        strength: of the LoRA; 1 is as trained.
        place: where.
    """

    name: str
    weights: Mapping[str, Tensor]
    strength: float
    place: Place

    @property
    def last_percent(self) -> float:
        """See `Part`."""
        return self.place.last_percent

    def layers(self, model: Any) -> dict[str, list[tuple[WeightAdapterBase, tuple[int, int, int] | None]]]:
        """What the LoRA adds to which layers of a BaseModel: by the layer's name, adapters and the part of its output.

        Raises:
            UserError: if it fits nothing, or holds anything that cannot act in a place.
        """
        keys = comfy.lora.model_lora_keys_unet(model, {})
        loaded = comfy.lora.load_lora(comfy.lora_convert.convert_lora(dict(self.weights)), keys, log_missing=False)
        modules = dict(model.diffusion_model.named_modules())
        found: dict[str, list[Any]] = {}
        unfit = []
        for key, adapter in loaded.items():
            weight, part = (key, None) if isinstance(key, str) else (key[0], key[1])
            name = weight.removeprefix(_PREFIX).removesuffix(".weight")
            if _adds(adapter) and name in modules and (isinstance(key, str) or len(key) == 2):
                found.setdefault(name, []).append((adapter, part))
            else:
                unfit.append(weight)
        if not found:
            raise UserError(f"{self.name} has no LoRA layers for this MODEL. Choose a LoRA that was trained for it.")
        if unfit:
            raise UserError(
                f"{self.name} changes {len(unfit)} weights of this MODEL in a way that cannot be limited to a place, "
                f"such as {unfit[0]}. Give the regional prompt of Prompt Where a Concept Is the LoRA instead, with "
                "Create Hook LoRA and Set CLIP Hooks."
            )
        return found

    def begin(self, guider: Any, encoded: EncodedConcepts, state: RunState) -> RunningLora | None:
        """See `Part`."""
        if self.strength == 0 or self.place.strength == 0:
            return None
        model = guider.model_patcher.model
        name = f"{self.name}: {' + '.join(self.place.concepts)}"
        mask = state.add(name, LiveMask(self.place, encoded.concepts, state.steps))
        return RunningLora(self, model, _adapter(model), mask, state)


def check_lora(lora: LoraSomewhere, model: Any) -> None:
    """Check that a LoRA can act in places of this BaseModel.

    Raises:
        UserError: if not.
    """
    _adapter(model)
    lora.layers(model)


def _adapter(model: Any) -> Adapter:
    """The adapter of a BaseModel in which a LoRA can act by place; a UserError says so of others."""
    adapter = adapter_for(model)
    if not isinstance(adapter, Adapter) or not adapter.two_streams:
        name = adapter.describe(model).name
        raise UserError(
            f"LoRAs by place are not supported for {name}. Give the regional prompt of Prompt Where a Concept Is the "
            "LoRA instead, with Create Hook LoRA and Set CLIP Hooks; that works with every model."
        )
    return adapter


class _Tokens:
    """Tokens of one forward pass: how many, and factors for them.

    Args:
        image: factors of the target image's tokens, (B, N).
        mean: their mean, (B, 1).
    """

    def __init__(self, image: Tensor, mean: Tensor) -> None:
        self.image, self.mean = image, mean
        self.images = self.texts = 0  # tokens of all images, and of the text; 0 before the first joint block
        self.target = slice(0, 0)  # of the image tokens
        self.start = 0  # of the image tokens among all
        self._known: dict[tuple[int, int], tuple[Tensor, Tensor | None]] = {}

    def factors(self, name: str, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Factors of a layer's output for its input x, (B, T, D) or (B, D), and the tokens that it acts on.

        Returns:
            Factors that go with x but for its last axis, and the indices of the tokens where one is not 0, or None if
            those are all.
        """
        if len(x) != len(self.mean):  # concept tokens, which are as many rows as images or one for all
            mean = self.mean.mean() if len(x) == 1 else self.mean[: len(x)].view(-1, *[1] * (x.ndim - 1))
            return mean, None
        if x.ndim != 3:
            return self.mean.view(-1, *[1] * (x.ndim - 1)), None
        count, first = x.shape[1], -1
        of_text = any(part in name for part in _OF_TEXT)
        images = self.images or self.image.shape[1]
        if count == images and not (of_text and count == (self.texts or count)):
            first = self.target.start
        elif self.images and count == self.images + self.texts:
            first = self.start + self.target.start
        if (count, first) not in self._known:
            factors = self.mean.repeat(1, count)
            if first >= 0:
                factors[:, first : first + self.image.shape[1]] = self.image
            active = (factors != 0).any(dim=0).nonzero()[:, 0]
            self._known[count, first] = factors[..., None], None if len(active) == count else active
        return self._known[count, first]


class RunningLora:
    """The LoRA in one run."""

    def __init__(self, lora: LoraSomewhere, model: Any, adapter: Adapter, mask: LiveMask, state: RunState) -> None:
        self._lora, self._adapter, self._mask, self._state = lora, adapter, mask, state
        self._patch = latent_pixels_per_token(adapter.describe(model))
        self._layers = lora.layers(model)
        self._hooks: dict[Any, dict[str, list[tuple[BypassForwardHook, Any]]]] = {}  # by device
        self.notes = {f"lora {lora.name}": f"{' + '.join(lora.place.concepts)}, strength {lora.strength:g}"}

    def wrappers(self, pause: Callable[[bool], None]) -> Wrappers:
        """See `ActingRun`."""
        return [(WrappersMP.APPLY_MODEL, self._apply_model)]

    def model_options(self, options: dict[str, Any]) -> dict[str, Any]:
        """See `ActingRun`."""
        return options

    def call(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """See `ActingRun`."""
        return arguments

    def _apply_model(self, executor: Any, x: Tensor, *args: Any, **kwargs: Any) -> Any:
        """One call of the model (APPLY_MODEL)."""
        mask = self._mask.at(self._state.step)
        if mask is None:
            return executor(x, *args, **kwargs)
        options = (args[4] if len(args) > 4 else kwargs.get("transformer_options")) or {}
        chunks = max(1, len(options.get("cond_or_uncond", ())))
        part = self._state.part_of(mask, x[: len(x) // chunks], options.get("context_window"))
        image = per_token(part, self._patch).to(x).repeat(chunks, 1)
        tokens = _Tokens(image, image.mean(dim=1, keepdim=True))
        model = executor.class_obj
        blocks = self._adapter.joint_blocks
        with ExitStack() as undo:
            network = undo.enter_context(running_eager(model, blocks, len(blocks(model.diffusion_model))))
            first = blocks(network)[0]
            undo.callback(
                first.register_forward_pre_hook(functools.partial(self._count, tokens), with_kwargs=True).remove
            )
            for name, hooks in self._prepared(network, x.device).items():
                hook = functools.partial(self._add, name, hooks, tokens)
                undo.callback(network.get_submodule(name).register_forward_hook(hook).remove)
            undo.enter_context(own_run(self))
            return executor(x, *args, **kwargs)

    def _prepared(self, network: nn.Module, device: Any) -> dict[str, list[tuple[BypassForwardHook, Any]]]:
        """The adapters of a device, with what core tells them of their layers; made in its first evaluation."""
        if device not in self._hooks:
            strength = self._lora.strength
            self._hooks[device] = {
                name: [
                    (BypassForwardHook(network.get_submodule(name), copy.copy(one), strength), part)
                    for one, part in adapters
                ]
                for name, adapters in self._layers.items()
            }
        return self._hooks[device]

    def _count(self, tokens: _Tokens, block: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """The first joint block is about to run: how many tokens there are."""
        if not is_own(self):
            return
        call = BlockCall(named_arguments(block, args, kwargs), slice(None), tokens.image.shape[1])
        tokens.texts = self._adapter.text_tokens(call).shape[1]
        images = self._adapter.token_slices(call, 1 << 30).image  # of any number of tokens
        tokens.images = images.stop - images.start
        slices = self._adapter.token_slices(call, tokens.images + tokens.texts)
        target = slices.target or slices.image
        tokens.start = slices.image.start
        tokens.target = slice(target.start - slices.image.start, target.stop - slices.image.start)

    def _add(
        self,
        name: str,
        hooks: list[tuple[BypassForwardHook, Any]],
        tokens: _Tokens,
        module: nn.Module,
        args: tuple[Any, ...],
        output: Tensor,
    ) -> Tensor | None:
        """A layer has run: add the LoRA's part to its output, which is new and nobody else's."""
        if not is_own(self):
            return None
        x = args[0]
        factors, active = tokens.factors(name, x)
        if active is not None:  # outside of the place there is nothing to add
            x, factors = x[:, active], factors[:, active]
        for hook, part in hooks:
            _move(hook, x)
            added = hook.adapter.h(x, output) * factors
            changed = output if part is None else output[..., part[1] : part[1] + part[2]]
            if active is None:
                changed += added
            else:
                changed.index_add_(1, active, added)
        return output


def _adds(adapter: Any) -> bool:
    """Whether an adapter only adds to a layer's output."""
    kind = type(adapter)
    return (
        isinstance(adapter, WeightAdapterBase)
        and kind.g is WeightAdapterBase.g
        and kind.bypass_forward is WeightAdapterBase.bypass_forward
    )


def _move(hook: BypassForwardHook, x: Tensor) -> None:
    """The adapter's weights on the device of a layer's input."""
    moved = [one.to(x.device) if isinstance(one, Tensor) else one for one in hook.adapter.weights]
    hook.adapter.weights = tuple(moved)
