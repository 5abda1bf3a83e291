"""A small random model of every family but Flux 1, and a twin of its concept stream that none of our code is in.

The twin runs diffusers' own blocks: once as the model does, and each once more with the concepts in the prompt's place,
which then attend to themselves and to the image. What attention gives is taken from torch's function for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..weights import fill_parameters

Arguments = dict[str, Any]
TEXT_WIDTH = 128


@dataclass(frozen=True)
class Family:
    """One kind of transformer.

    Attributes:
        name: of its adapter module.
        make: a random transformer.
        inputs: random arguments of one evaluation, for (transformer, batch, rows, columns, text tokens, seed).
        first: block-0 tokens of text embeddings (B, C, E).
        text_first: whether text tokens come before image tokens in attention.
        text_out: position of the text tokens in what a block returns.
        place: block arguments as concepts have them, for (transformer, arguments, count of concepts).
        frames: image tokens along time.
        fuses: whether diffusers can run it with fused projections.
    """

    name: str
    make: Callable[..., Any]
    inputs: Callable[..., Arguments]
    first: Callable[[Any, Tensor], Tensor]
    text_first: bool
    text_out: int
    place: Callable[[Any, Arguments, int], Arguments] = lambda transformer, arguments, count: arguments
    frames: int = 1
    fuses: bool = True


def fill(module: nn.Module, seed: int = 0) -> Any:
    """Seeded random weights, large enough that every concept gets another map; in evaluation mode."""
    fill_parameters(module, torch.Generator().manual_seed(seed), spread=0.3)
    return module.eval()


@contextmanager
def attention_outputs() -> Iterator[list[Tensor]]:
    """What torch's attention gives meanwhile, each (B, tokens, heads * head_dim)."""
    attended: list[Tensor] = []
    attend = functional.scaled_dot_product_attention

    def note(*args: Any, **options: Any) -> Tensor:
        result = attend(*args, **options)
        attended.append(result.transpose(1, 2).flatten(2).clone())
        return result

    functional.scaled_dot_product_attention = note
    try:
        yield attended
    finally:
        functional.scaled_dot_product_attention = attend


@torch.no_grad()
def twin(
    family: Family, transformer: Any, inputs: Arguments, embeddings: Tensor, pads: int = 0
) -> tuple[list[Tensor], list[Tensor]]:
    """Per joint block the attention outputs of the image (B, N, D) and of concepts and pads (B, C + pads, D)."""
    calls: list[Arguments] = []
    images: list[Tensor] = []
    handles = []
    for block in transformer.transformer_blocks:
        handles.append(block.register_forward_pre_hook(lambda m, a, options: calls.append(options), with_kwargs=True))
    with attention_outputs() as attended:
        for block in transformer.transformer_blocks:
            handles.append(block.register_forward_pre_hook(lambda module, args: attended.append(torch.empty(0))))
        transformer(**inputs)
    for handle in handles:
        handle.remove()
    starts = [place for place, one in enumerate(attended) if not one.numel()]
    for start, call in zip(starts, calls, strict=True):
        images.append(_image(family, attended[start + 1], call["encoder_hidden_states"].shape[1]))

    batch = len(images[0])
    rows = embeddings.expand(batch, -1, -1) if embeddings.ndim == 2 else embeddings
    concept = family.first(transformer, torch.cat([rows, torch.zeros(batch, pads, rows.shape[-1])], dim=1))
    count = concept.shape[1]
    concepts: list[Tensor] = []
    for block, call in zip(transformer.transformer_blocks, calls, strict=True):
        with attention_outputs() as attended:
            output = block(**{**family.place(transformer, call, count), "encoder_hidden_states": concept})
        concepts.append(attended[0][:, :count] if family.text_first else attended[0][:, -count:])
        concept = output[family.text_out]
    return images, concepts


def _image(family: Family, attended: Tensor, text: int) -> Tensor:
    return attended[:, text:] if family.text_first else attended[:, : attended.shape[1] - text]


def _noise(seed: int) -> Callable[..., Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return lambda *shape: torch.randn(*shape, generator=generator)


def make_sd3(qk_norm: str | None = "rms_norm", dual: tuple[int, ...] = (0, 1)) -> Any:
    from diffusers import SD3Transformer2DModel

    return fill(
        SD3Transformer2DModel(
            sample_size=16,
            in_channels=4,
            out_channels=4,
            num_layers=3,
            attention_head_dim=16,
            num_attention_heads=3,
            joint_attention_dim=TEXT_WIDTH,
            caption_projection_dim=48,
            pooled_projection_dim=96,
            pos_embed_max_size=16,
            dual_attention_layers=dual,
            qk_norm=qk_norm,
        )
    )


def sd3_inputs(transformer: Any, batch: int, rows: int, columns: int, text: int = 5, seed: int = 1) -> Arguments:
    noise = _noise(seed)
    return {
        "hidden_states": noise(batch, 4, 2 * rows, 2 * columns),
        "encoder_hidden_states": noise(batch, text, TEXT_WIDTH),
        "pooled_projections": noise(batch, 96),
        "timestep": 1000 * torch.rand(batch, generator=torch.Generator().manual_seed(seed)),
        "return_dict": False,
    }


def _sd3(**config: Any) -> Family:
    return Family(
        name="sd3",
        make=lambda: make_sd3(**config),
        inputs=sd3_inputs,
        first=lambda transformer, embeddings: transformer.context_embedder(embeddings),
        text_first=False,
        text_out=0,
        fuses=config.get("dual") == (),
    )


def make_flux2(guidance: bool = True, text_width: int = TEXT_WIDTH) -> Any:
    from diffusers import Flux2Transformer2DModel

    return fill(
        Flux2Transformer2DModel(
            in_channels=16,
            num_layers=3,
            num_single_layers=1,
            attention_head_dim=16,
            num_attention_heads=3,
            joint_attention_dim=text_width,
            timestep_guidance_channels=32,
            axes_dims_rope=(4, 4, 4, 4),
            guidance_embeds=guidance,
        )
    )


def flux2_inputs(transformer: Any, batch: int, rows: int, columns: int, text: int = 5, seed: int = 1) -> Arguments:
    noise, ones = _noise(seed), torch.arange(1)
    return {
        "hidden_states": noise(batch, rows * columns, 16),
        "encoder_hidden_states": noise(batch, text, TEXT_WIDTH),
        "timestep": torch.rand(batch, generator=torch.Generator().manual_seed(seed)),
        "guidance": torch.full((batch,), 2.5) if transformer.config.guidance_embeds else None,
        "img_ids": torch.cartesian_prod(ones, torch.arange(rows), torch.arange(columns), ones),
        "txt_ids": torch.cartesian_prod(ones, ones, ones, torch.arange(text)),
        "return_dict": False,
    }


def _flux2(guidance: bool, place: int) -> Family:
    def put(transformer: Any, arguments: Arguments, count: int) -> Arguments:
        text = arguments["encoder_hidden_states"].shape[1]
        places = transformer.pos_embed(torch.tensor([[0, 0, 0, place]] * count))
        turned = [torch.cat([own, one[text:]]) for own, one in zip(places, arguments["image_rotary_emb"], strict=True)]
        return {**arguments, "image_rotary_emb": tuple(turned)}

    return Family(
        name="flux2",
        make=lambda **config: make_flux2(guidance, **config),
        inputs=flux2_inputs,
        first=lambda transformer, embeddings: transformer.context_embedder(embeddings),
        text_first=True,
        text_out=0,
        place=put,
    )


def make_cogvideox(text: int = 5, rotary: bool = True, frame_patch: int | None = None) -> Any:
    """Its positions without rotation are those of a prompt of exactly `text` tokens."""
    from diffusers import CogVideoXTransformer3DModel

    return fill(
        CogVideoXTransformer3DModel(
            num_attention_heads=3,
            attention_head_dim=16,
            in_channels=4,
            out_channels=4,
            time_embed_dim=32,
            text_embed_dim=TEXT_WIDTH,
            num_layers=3,
            sample_width=8,
            sample_height=6,
            sample_frames=9,
            patch_size_t=frame_patch,
            max_text_seq_length=text,
            use_rotary_positional_embeddings=rotary,
            patch_bias=frame_patch is None,
        )
    )


def _cogvideox(frames: int, **config: Any) -> Family:
    def inputs(transformer: Any, batch: int, rows: int, columns: int, text: int = 5, seed: int = 1) -> Arguments:
        noise, latent_frames = _noise(seed), frames * (config.get("frame_patch") or 1)
        angle = noise(frames * rows * columns, 8)
        turned = [part.repeat_interleave(2, dim=1) for part in (angle.cos(), angle.sin())]
        return {
            "hidden_states": noise(batch, latent_frames, 4, 2 * rows, 2 * columns),
            "encoder_hidden_states": noise(batch, text if config.get("rotary", True) else 5, TEXT_WIDTH),
            "timestep": torch.full((batch,), 400),
            "image_rotary_emb": tuple(turned) if config.get("rotary", True) else None,
            "return_dict": False,
        }

    return Family(
        name="cogvideox",
        make=lambda **more: make_cogvideox(**config, **more),
        inputs=inputs,
        first=lambda transformer, embeddings: transformer.patch_embed.text_proj(embeddings),
        text_first=True,
        text_out=1,
        frames=frames,
    )


FAMILIES: Mapping[str, Family] = {
    "CogVideoX 5B": _cogvideox(3),
    "CogVideoX 2B": _cogvideox(3, rotary=False),
    "CogVideoX 1.5": _cogvideox(2, frame_patch=2),
    "Flux.2 dev": _flux2(True, 510),
    "Flux.2 Klein": _flux2(False, 3),
    "SD3": _sd3(qk_norm=None, dual=()),
    "SD3.5 large": _sd3(dual=()),
    "SD3.5 medium": _sd3(),
}
