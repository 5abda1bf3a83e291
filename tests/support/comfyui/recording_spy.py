"""Recorded runs for tests, and a footprint of all that they must leave unchanged."""

from __future__ import annotations

from typing import Any

import torch
from comfy.model_patcher import ModelPatcher
from comfy.patcher_extension import WrappersMP
from torch import Tensor, nn

from concept_attention.concepts import parse_concepts
from concept_attention.hosts.comfyui.engine.run import RunResult, record
from concept_attention.hosts.comfyui.engine.session import KEY
from concept_attention.hosts.comfyui.engine.settings import Settings
from concept_attention.hosts.encoded import EncodedConcepts
from concept_attention.recording.recording import Recording

from .tiny import TEXT_WIDTH, sample


def make_encoded(count: int = 3, seed: int = 5, width: int = TEXT_WIDTH) -> EncodedConcepts:
    """Random concepts "thing 0", "thing 1", ..."""
    embeddings = torch.randn(count, width, generator=torch.Generator().manual_seed(seed))
    return EncodedConcepts(parse_concepts([f"thing {n}" for n in range(count)]), embeddings, (1,) * count, "first")


def recording_model(
    model: ModelPatcher, results: list[RunResult], settings: Settings | None = None, **options: Any
) -> ModelPatcher:
    """A MODEL that appends the result of each of its runs to `results`; for `options` see `record`."""
    chosen = settings or Settings(make_encoded())

    def wrapper(executor: Any, *args: Any, **kwargs: Any) -> Any:
        output, result = record(executor, args, kwargs, chosen, **options)
        results.append(result)
        return output

    patched = model.clone()
    patched.add_wrapper_with_key(WrappersMP.OUTER_SAMPLE, KEY, wrapper)
    return patched


@torch.inference_mode()
def sample_and_record(
    model: ModelPatcher, settings: Settings | None = None, *, stop_after_last_layer: bool = False, **options: Any
) -> tuple[Tensor, RunResult]:
    """The sampled latent of a recorded run, and its result; for `options` see `tiny.sample`."""
    results: list[RunResult] = []
    patched = recording_model(model, results, settings, stop_after_last_layer=stop_after_last_layer)
    return sample(patched, **options), results[0]


def recording_of(model: ModelPatcher, settings: Settings | None = None, **options: Any) -> Recording:
    """The recording of one run; there must be one."""
    _, result = sample_and_record(model, settings, **options)
    assert result.recording is not None, result.reason
    return result.recording


def footprint(model: ModelPatcher) -> Any:
    """All that a run could change on a MODEL: hooks, wrappers, options, patches, modules, weights."""
    network = model.model.diffusion_model
    modules = {
        name: (id(module), getattr(module, "_compiled_call_impl", None), *map(list, _hooks(module)))
        for name, module in getattr(network, "_orig_mod", network).named_modules()
    }
    weights = [(name, id(weight), weight._version) for name, weight in network.named_parameters()]
    patches = sorted(model.object_patches), sorted(map(str, model.patches))
    return id(network), modules, weights, patches, _shape(model.model_options), _shape(model.wrappers)


def _hooks(module: nn.Module) -> list[Any]:
    names = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return [getattr(module, name).values() for name in names]


def _shape(value: Any) -> Any:
    """Nested dicts and lists, with what they hold by identity."""
    if isinstance(value, dict):
        return {key: _shape(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_shape(one) for one in value]
    return id(value)
