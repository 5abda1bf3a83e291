"""Hooks on joint blocks: which attention call they observe, which overrides they chain, and that they are removed."""

from __future__ import annotations

import functools
import threading
import types
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import comfy.ldm.flux.math
import comfy.model_management
import pytest
import torch
from comfy.ldm.modules.attention import optimized_attention
from comfy.patcher_extension import WrappersMP
from torch import Tensor, nn

from concept_attention import attention
from concept_attention.errors import UserError
from concept_attention.hosts.architecture import TokenSlices
from concept_attention.hosts.comfyui.adapters.flux import Flux
from concept_attention.hosts.comfyui.adapters.hunyuan_video import HunyuanVideo
from concept_attention.hosts.comfyui.adapters.network import _EAGER_RUNS as EAGER_RUNS
from concept_attention.hosts.comfyui.adapters.network import eager, is_compiled, running_eager
from concept_attention.hosts.comfyui.engine.settings import Settings
from concept_attention.hosts.comfyui.engine.stream import ConceptStream, StopForward

from ....support.comfyui.recording_spy import footprint, make_encoded, recording_of, sample_and_record
from ....support.comfyui.tiny import make_cond, make_flux, make_latent, sample
from ....support.numbers import relative_error
from ....support.threads import in_a_thread

CONCEPTS = make_encoded().embeddings


def run_network(model: Any, batch: int = 1, **options: Any) -> Tensor:
    """One call of a tiny Flux's network on images of 6 x 4 tokens."""
    cond = make_cond()[0]
    with torch.no_grad():
        return model.model.diffusion_model(
            make_latent(batch),
            torch.linspace(0.9, 0.5, batch),
            cond[0].repeat(batch, 1, 1),
            cond[1]["pooled_output"].repeat(batch, 1),
            **options,
        )


def stream_on(model: Any, deliver: Any = lambda *_: None, **options: Any) -> ConceptStream:
    network = model.model.diffusion_model
    last = options.pop("last_layer", len(network.double_blocks) - 1)
    rows = options.pop("rows", slice(None))
    adapter, tokens = options.pop("adapter", Flux()), options.pop("tokens", 24)
    return ConceptStream(adapter, network, CONCEPTS, rows, tokens, deliver, last, **options)


def hooks(model: Any) -> int:
    modules = model.model.diffusion_model.modules()
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in modules)


def test_the_output_is_bit_identical_and_every_layer_is_delivered_in_order() -> None:
    model = make_flux()
    plain, layers = run_network(model), []
    with stream_on(model, lambda layer, image, concept: layers.append((layer, image.shape, concept.shape))):
        observed = run_network(model)
    assert torch.equal(observed, plain)
    assert layers == [(layer, (1, 24, 128), (1, 3, 128)) for layer in range(3)]


def test_only_the_blocks_up_to_the_last_layer_are_hooked() -> None:
    model, layers = make_flux(joint_blocks=4), []
    with stream_on(model, lambda layer, *_: layers.append(layer), last_layer=1):
        blocks = model.model.diffusion_model.double_blocks
        assert [len(block._forward_pre_hooks) for block in blocks] == [1, 1, 0, 0]
        run_network(model)
    assert layers == [0, 1]


@pytest.mark.parametrize("rows", [slice(1, 3), torch.tensor([1, 2])])
def test_chosen_rows_equal_these_images_alone(rows: Any) -> None:
    model = make_flux()
    found: dict[str, list[Any]] = {"all": [], "some": []}
    for name, chosen in (("all", slice(None)), ("some", rows)):
        with stream_on(model, lambda *delivered, to=name: found[to].append(delivered), rows=chosen):
            run_network(model, batch=4)
    for (_, image, concept), (_, some_image, some_concept) in zip(found["all"], found["some"], strict=True):
        assert torch.equal(some_image, image[1:3])
        assert relative_error(some_concept, concept[1:3]) < 1e-5


def test_a_slice_of_rows_is_taken_without_a_copy() -> None:
    model, seen = make_flux(), []
    pointers = {"attention output": [], "delivered": []}

    def note(func: Any, *args: Any, **kwargs: Any) -> Tensor:
        out = func(*args, **kwargs)
        pointers["attention output"].append((out.untyped_storage().data_ptr(), args[2].untyped_storage().data_ptr()))
        seen.append(args[2])  # keep it, or its memory may be used again
        return out

    values = []

    class Noting(Flux):
        def attend_concepts(self, block: Any, concept: Any, image_k: Tensor, image_v: Tensor, *rest: Any) -> Any:
            values.append(image_v.untyped_storage().data_ptr())
            return super().attend_concepts(block, concept, image_k, image_v, *rest)

    network = model.model.diffusion_model
    deliver = lambda _, image, __: pointers["delivered"].append(image.untyped_storage().data_ptr())  # noqa: E731
    with ConceptStream(Noting(), network, CONCEPTS, slice(1, 2), 24, deliver, 2):
        run_network(model, batch=2, transformer_options={"optimized_attention_override": note})
    joint = pointers["attention output"][:3]
    assert pointers["delivered"] == [output for output, _ in joint] and values == [value for _, value in joint]


def test_another_packs_override_is_chained_and_called_as_often() -> None:
    model, calls = make_flux(), []

    def theirs(func: Any, *args: Any, **kwargs: Any) -> Tensor:
        calls.append(kwargs["transformer_options"])
        return func(*args, **kwargs) * 0.9

    options = {"optimized_attention_override": theirs, "patches": {}}
    plain, images = run_network(model, transformer_options=options), []
    often = len(calls)
    assert often == 5
    with stream_on(model, lambda _, image, __: images.append(image)):
        observed = run_network(model, transformer_options=options)
    assert torch.equal(observed, plain) and len(calls) == 2 * often
    assert not torch.equal(observed, run_network(model))
    assert options == {"optimized_attention_override": theirs, "patches": {}}


def test_what_another_pack_makes_of_the_attention_is_what_is_delivered() -> None:
    model = make_flux()
    taken: list[Tensor] = []
    for override in ({}, {"optimized_attention_override": lambda func, *a, **k: func(*a, **k) * 0.5}):
        with stream_on(model, lambda layer, image, _: taken.append(image.clone()), last_layer=0):
            run_network(model, transformer_options=override)
    torch.testing.assert_close(taken[1], taken[0] * 0.5)


def test_the_attention_that_a_layer_prefers_is_used_as_without_concepts(monkeypatch: pytest.MonkeyPatch) -> None:
    """ComfyUI 0.38 keeps a layer's preference to itself, and forgets it where there is an override."""
    ordinary_attention = comfy.ldm.flux.math.optimized_attention

    def attend(*args: Any, **kwargs: Any) -> Tensor:
        preferred_attention = types.SimpleNamespace(function=lambda *a, **k: ordinary_attention(*a, **k) * 0.5)
        override = kwargs.pop("transformer_options", {}).get("optimized_attention_override")
        chosen = preferred_attention.function if override is None else functools.partial(override, ordinary_attention)
        return chosen(*args, **kwargs)

    model, images = make_flux(), []
    ordinary = run_network(model)
    monkeypatch.setattr(comfy.ldm.flux.math, "optimized_attention", attend)
    plain = run_network(model)
    with stream_on(model, lambda _, image, __: images.append(image)):
        observed = run_network(model)
    assert torch.equal(observed, plain) and not torch.equal(plain, ordinary) and images


def interrupt() -> BaseException:
    return comfy.model_management.InterruptProcessingException()


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, interrupt, StopForward])
@pytest.mark.parametrize("place", ["time_in", "double_blocks.1", "double_blocks.2.img_mlp", "final_layer"])
def test_no_hook_survives_an_error_anywhere(error: Callable[[], BaseException], place: str) -> None:
    model = make_flux()
    raised = error()

    def fail(*_: Any) -> None:
        raise raised

    before = footprint(model)
    handle = model.model.diffusion_model.get_submodule(place).register_forward_hook(fail)
    with pytest.raises(type(raised)), stream_on(model):
        run_network(model)
    handle.remove()
    assert footprint(model) == before


def test_no_hook_survives_an_error_while_they_are_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    model = make_flux()

    def fail(*_: Any, **__: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(model.model.diffusion_model.double_blocks[1], "register_forward_pre_hook", fail)
    with pytest.raises(MemoryError), stream_on(model):
        pass
    assert hooks(model) == 0


def test_the_pass_can_end_right_after_the_last_layers_attention() -> None:
    model, ran = make_flux(), []
    network = model.model.diffusion_model
    handles = [
        module.register_forward_hook(lambda *_, name=name: ran.append(name))
        for name, module in network.named_modules()
        if name in ("double_blocks.0", "double_blocks.1.img_attn.qkv", "double_blocks.1.img_attn.proj", "final_layer")
    ]
    layers: list[int] = []
    with (
        pytest.raises(StopForward),
        stream_on(model, lambda layer, *_: layers.append(layer), last_layer=1, stop_after_last_layer=True),
    ):
        run_network(model)
    for handle in handles:
        handle.remove()
    assert layers == [0, 1] and ran == ["double_blocks.0", "double_blocks.1.img_attn.qkv"]
    assert hooks(model) == 0


def test_entering_twice_is_refused_and_leaves_the_first_alone() -> None:
    model, layers = make_flux(), []
    with stream_on(model, lambda layer, *_: layers.append(layer)):
        with pytest.raises(UserError, match="recording concepts already"), stream_on(model):
            pass
        run_network(model)
    assert layers == [0, 1, 2] and hooks(model) == 0


@pytest.mark.parametrize("family", [Flux, HunyuanVideo], ids=["target first", "target last"])
def test_merged_image_tokens_are_a_problem_and_not_delivered(family: Any) -> None:
    """Also where reference tokens come first: what is missing there must not be taken from the prompt."""
    model, delivered = make_flux(), []
    plain = run_network(model)
    with stream_on(model, lambda *layer: delivered.append(layer), tokens=30, adapter=family()) as stream:
        assert torch.equal(run_network(model), plain)
    assert not delivered and "24 image tokens, the target image has 30" in stream.problem


def test_the_concepts_skip_a_block_that_another_pack_skips() -> None:
    model, layers = make_flux(), []

    def skip(args: dict[str, Any], extra: Any) -> dict[str, Any]:
        return {"img": args["img"], "txt": args["txt"]}

    options = {"patches_replace": {"dit": {("double_block", 0): skip}}}
    with stream_on(model, lambda layer, image, concept: layers.append((layer, concept.clone()))):
        run_network(model, transformer_options=options)
    assert [layer for layer, _ in layers] == [1, 2]


# threads


def test_a_plain_call_in_another_thread_meanwhile_is_as_ever_and_not_observed() -> None:
    """It runs inside of the observed one, with the hooks in place."""
    model, alone, seen = make_flux(), [], []
    plain, plain_batch = run_network(model), run_network(model, batch=3)
    with stream_on(model, lambda *layer: alone.append(layer)):
        run_network(model)

    def on_layer(*layer: Any) -> None:
        seen.append(layer)
        if threading.current_thread() is threading.main_thread():
            assert torch.equal(in_a_thread(lambda: run_network(model, batch=3)), plain_batch)

    with stream_on(model, on_layer):
        assert torch.equal(run_network(model), plain)
    assert [layer for layer, _, _ in seen] == [0, 1, 2]
    for found, expected in zip(seen, alone, strict=True):
        assert torch.equal(found[1], expected[1]) and torch.equal(found[2], expected[2])
    assert hooks(model) == 0


def test_two_threads_observe_one_network_at_once() -> None:
    model = make_flux()
    found: dict[str, list[Any]] = {"alone": [], "outer": [], "inner": []}

    def observe(batch: int, deliver: Callable[..., None]) -> None:
        with stream_on(model, deliver):
            run_network(model, batch=batch)

    observe(3, lambda *layer: found["alone"].append(layer))
    observe(1, lambda *layer: found["outer"].append(layer))
    outer_alone = found["outer"][:]
    found["outer"].clear()

    def on_layer(*layer: Any) -> None:
        found["outer"].append(layer)
        if layer[0] == 1:
            in_a_thread(lambda: observe(3, lambda *layer: found["inner"].append(layer)))

    observe(1, on_layer)
    for some, expected in ((found["outer"], outer_alone), (found["inner"], found["alone"])):
        assert [layer for layer, _, _ in some] == [0, 1, 2]
        for one, other in zip(some, expected, strict=True):
            assert torch.equal(one[1], other[1]) and torch.equal(one[2], other[2])
    assert hooks(model) == 0


def test_a_plain_call_survives_that_the_hooks_are_removed_under_it() -> None:
    """torch looks up a module's hooks first, and how each is called when its turn comes."""
    model = make_flux()
    plain = run_network(model)
    begun, removed = threading.Event(), threading.Event()

    def wait(*args: Any) -> None:
        begun.set()
        assert removed.wait(10)

    handle = model.model.diffusion_model.double_blocks[0].register_forward_pre_hook(wait)
    with ThreadPoolExecutor(1) as pool:
        with stream_on(model):
            running = pool.submit(run_network, model)
            assert begun.wait(10)
        removed.set()
        assert torch.equal(running.result(timeout=20), plain)
    handle.remove()
    assert hooks(model) == 0


class Block(nn.Module):
    """A joint block of a made-up family: image tokens first, called by position, with a second attention."""

    def __init__(self, layout: str) -> None:
        super().__init__()
        self.layout = layout

    def forward(self, image: Tensor, text: Tensor, scale: float, transformer_options: Any = None) -> Any:
        joint = torch.cat([image, text], dim=1)  # (B, N, heads * head_dim)
        split = joint.unflatten(-1, (2, -1)).transpose(1, 2)
        options: Any = {"transformer_options": transformer_options}
        if self.layout == "split":
            out = optimized_attention(split, split, split * scale, 2, skip_reshape=True, **options)
        elif self.layout == "split output":
            options |= {"skip_reshape": True, "skip_output_reshape": True}
            out = optimized_attention(split, split, split * scale, 2, **options)
            out = out.transpose(1, 2).flatten(2)
        elif self.layout == "joined":
            out = optimized_attention(joint, joint, joint * scale, heads=2, **options)
        else:  # as SD3 has it: values by heads, the rest not
            out = optimized_attention(joint, joint, (joint * scale).unflatten(-1, (2, -1)), heads=2, **options)
        image = image + 0.1 * optimized_attention(image, image, image, heads=2, transformer_options=transformer_options)
        return image + out[:, : image.shape[1]], text + out[:, image.shape[1] :]


class Network(nn.Module):
    def __init__(self, layout: str) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block(layout) for _ in range(2))

    def forward(self, image: Tensor, text: Tensor, options: Any) -> Tensor:
        for block in self.blocks:
            image, text = block(image, text, 0.5, options)
        return image


def made_up_adapter() -> Any:
    """Concepts are their own queries, keys and values."""

    def attend_concepts(block: Any, concept: Tensor, image_k: Tensor, image_v: Tensor, call: Any, bias: Any) -> Any:
        assert call.arguments["scale"] == 0.5
        own = concept.unflatten(-1, (2, -1)).transpose(1, 2)
        return attention.attend_concepts(own, own, own * 0.5, image_k, image_v), None

    return types.SimpleNamespace(
        joint_blocks=lambda network: network.blocks,
        conditioning_modules=lambda network: {},
        attention_modules=lambda block: None,
        given_attention=lambda block, call: None,
        prepare=lambda network, call: None,
        project_concepts=lambda network, embeddings, call: embeddings,
        token_slices=lambda call, keys: TokenSlices(
            image=slice(0, call.arguments["image"].shape[1]),
            target=slice(2, 2 + call.tokens),  # reference tokens come first
        ),
        attend_concepts=attend_concepts,
        update_concepts=lambda block, concept, out, rest: concept + out,
    )


@pytest.mark.parametrize("layout", ["split", "split output", "joined", "as SD3"])
def test_other_orders_and_layouts_need_nothing_but_an_adapter(layout: str) -> None:
    """Image first, references before it, called by position, several attention calls, any layout of the tensors."""
    if layout == "as SD3" and "sub_quad" not in optimized_attention.__name__:
        pytest.skip("this backend takes no mixed layout")
    generator = torch.Generator().manual_seed(3)
    image, text, concept = (torch.randn(2, n, 8, generator=generator) for n in (7, 4, 3))
    network, found = Network(layout), []
    options = {"mine": 1}
    plain = network(image, text, options)
    stream = ConceptStream(
        made_up_adapter(), network, concept[0], slice(None), 5, lambda *layer: found.append(layer), 1
    )
    with stream:
        assert torch.equal(network(image, text, options), plain)
    assert options == {"mine": 1}

    img, txt, own = image, text, concept[:1].expand(2, -1, -1)
    for layer, (index, image_out, concept_out) in enumerate(found):
        joint = torch.cat([img, txt], dim=1)
        out = attend_naive(joint, joint, joint * 0.5)
        expected = attend_naive(own, torch.cat([own, img], dim=1), torch.cat([own, img], dim=1) * 0.5)
        assert index == layer
        assert relative_error(image_out, out[:, 2:7]) < 1e-5
        assert relative_error(concept_out, expected) < 1e-5
        img = img + 0.1 * attend_naive(img, img, img) + out[:, :7]
        txt, own = txt + out[:, 7:], own + expected
    assert len(found) == 2


def attend_naive(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    q, k, v = (x.unflatten(-1, (2, -1)).movedim(2, 1) for x in (q, k, v))
    return (torch.softmax(q @ k.movedim(-1, -2) / 2, dim=-1) @ v).movedim(1, 2).flatten(2)


# torch.compile


def compile_eagerly(module: Any) -> Any:
    return torch.compile(module, backend="eager")


@contextmanager
def compiled(model: Any, what: str) -> Iterator[None]:
    """A model compiled in one of the ways packs do it, and as before afterwards."""
    network = model.model.diffusion_model
    blocks = network.double_blocks
    if what == "whole":
        model.model.diffusion_model = compile_eagerly(network)
    elif what == "blocks":
        for index, block in enumerate(list(blocks)):
            blocks[index] = compile_eagerly(block)
    else:
        network.compile(backend="eager")
        blocks[0].compile(backend="eager")
    try:
        yield
    finally:
        torch.compiler.reset()


@pytest.mark.parametrize("what", ["whole", "blocks", "in place"])
def test_a_compiled_model_runs_eager_and_is_compiled_again_afterwards(what: str) -> None:
    model = make_flux()
    with compiled(model, what):
        before = footprint(model)
        network = eager(model.model.diffusion_model)
        assert is_compiled(model.model, Flux().joint_blocks, 2)
        with pytest.raises(KeyError), running_eager(model.model, Flux().joint_blocks, 2) as base:
            assert base is model.model.diffusion_model is network
            assert [type(block).__name__ for block in list(base.double_blocks)[:2]] == ["DoubleStreamBlock"] * 2
            assert base._compiled_call_impl is None and base.double_blocks[0]._compiled_call_impl is None
            if what == "blocks":
                assert base.double_blocks[2] is not eager(base.double_blocks[2])  # not recorded: stays compiled
            assert not is_compiled(model.model, Flux().joint_blocks, 2)
            raise KeyError
        assert footprint(model) == before


def test_a_model_is_compiled_again_when_the_last_of_several_threads_is_done() -> None:
    network = make_flux().model.diffusion_model
    held, model = compile_eagerly(network), types.SimpleNamespace()
    model.diffusion_model = held
    blocks = Flux().joint_blocks(network)
    block = blocks[1]
    blocks[1] = second = compile_eagerly(block)
    first = running_eager(model, Flux().joint_blocks, 1)
    both = running_eager(model, Flux().joint_blocks, 2)
    with first:
        assert model.diffusion_model is network and blocks[1] is second
        both.__enter__()
        assert blocks[1] is block
    assert model.diffusion_model is network and blocks[1] is block  # the other goes on
    both.__exit__(None, None, None)
    assert model.diffusion_model is held and blocks[1] is second
    assert not EAGER_RUNS


def test_nothing_of_the_concepts_is_traced_into_a_compiled_network() -> None:
    """Compiled calls before and after the observed one: neither's graph may serve the other."""
    generator = torch.Generator().manual_seed(3)
    image, text, concept = (torch.randn(1, n, 8, generator=generator) for n in (7, 4, 3))
    network, found = Network("split"), []
    plain = network(image, text, {})
    model = types.SimpleNamespace(diffusion_model=compile_eagerly(network))
    adapter = made_up_adapter()
    for _ in range(2):
        torch.testing.assert_close(model.diffusion_model(image, text, {}), plain)
        with (
            running_eager(model, adapter.joint_blocks, 2) as base,
            ConceptStream(adapter, base, concept[0], slice(None), 5, lambda *layer: found.append(layer), 1),
        ):
            assert torch.equal(model.diffusion_model(image, text, {}), plain)
    assert [layer for layer, _, _ in found] == [0, 1, 0, 1]
    torch.compiler.reset()


class Compiled(nn.Module):
    """What torch.compile makes of a module, as far as others can see; it counts its calls."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self._orig_mod = module
        self.calls = 0

    def __getattr__(self, name: str) -> Any:
        return super().__getattr__(name) if name == "_orig_mod" else getattr(self._orig_mod, name)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        self.calls += 1
        return self._orig_mod(*args, **kwargs)


def test_a_run_of_a_compiled_model_is_eager_only_in_the_recorded_steps() -> None:
    model = make_flux(joint_blocks=2, single_blocks=1)
    network = Compiled(model.model.diffusion_model)

    def like_torch_compile_model(executor: Any, *args: Any, **kwargs: Any) -> Any:
        base, executor.class_obj.diffusion_model = executor.class_obj.diffusion_model, network
        try:
            return executor(*args, **kwargs)
        finally:
            executor.class_obj.diffusion_model = base

    wrapped = model.clone()
    wrapped.add_wrapper_with_key(WrappersMP.APPLY_MODEL, "torch.compile", like_torch_compile_model)
    before = footprint(wrapped)
    plain, expected = sample(wrapped, steps=4), recording_of(model, steps=4)
    assert network.calls == 4
    latent, result = sample_and_record(wrapped, Settings(make_encoded(), start_percent=0.5), steps=4)
    assert torch.equal(latent, plain) and network.calls == 4 + 2
    assert result.recording is not None and torch.equal(result.recording.scores, expected.scores[2:])
    assert "recorded steps run uncompiled" in result.recording.metadata["cautions"]
    assert "cautions" not in expected.metadata
    assert footprint(wrapped) == before
