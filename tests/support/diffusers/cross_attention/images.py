"""Families of images with cross-attention."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import torch

from concept_attention.hosts.encoded import ConceptText

from ..tiny_transformers import Arguments, fill, seeded_noise
from .family import TEXT_WIDTH, TOKENS, CrossFamily, masked


def unet(levels: str, **config: Any) -> CrossFamily:
    """A U-Net of that many sizes, each with ("x") or without cross-attention, one block a size on the way down."""
    kinds = [("CrossAttn" if level == "x" else "") for level in levels]

    def make() -> Any:
        from diffusers import UNet2DConditionModel

        return fill(
            UNet2DConditionModel(
                block_out_channels=(32,) * len(levels),
                down_block_types=tuple(f"{kind}DownBlock2D" for kind in kinds),
                up_block_types=tuple(f"{kind}UpBlock2D" for kind in reversed(kinds)),
                layers_per_block=1,
                norm_num_groups=8,
                cross_attention_dim=TEXT_WIDTH,
                attention_head_dim=2,
                **config,
            )
        )

    def inputs(model: Any, batch: int, rows: int, columns: int, seed: int = 1) -> Arguments:
        noise, finest = seeded_noise(seed), levels.index("x")
        more = {}
        if "addition_embed_type" in config:  # SDXL
            more["added_cond_kwargs"] = {"text_embeds": noise(batch, 16), "time_ids": torch.ones(batch, 6)}
        return {
            "sample": noise(batch, 4, rows * 2**finest, columns * 2**finest),
            "timestep": torch.tensor(500),
            "encoder_hidden_states": noise(batch, TOKENS, config.get("encoder_hid_dim", TEXT_WIDTH)),
            "return_dict": False,
            **more,
        }

    def grids(rows: int, columns: int) -> list[tuple[int, int]]:
        sizes, rows, columns = [], rows, columns
        for _ in levels[levels.index("x") :]:
            sizes.append((rows, columns))
            rows, columns = -(-rows // 2), -(-columns // 2)
        down = [size for size, level in zip(sizes, levels[levels.index("x") :], strict=True) if level == "x"]
        up = itertools.chain.from_iterable([size] * 2 for size in reversed(down))
        return [*down, sizes[-1], *up]

    return CrossFamily("UNet", make, inputs, layers=3 * levels.count("x") + 1, grids=grids)


def unet_with_ip_adapter() -> CrossFamily:
    """Its layers attend to the words, then to four tokens of an image."""
    plain = unet("-x")

    def make() -> Any:
        from diffusers.models.attention_processor import IPAdapterAttnProcessor2_0
        from diffusers.models.embeddings import ImageProjection, MultiIPAdapterImageProjection

        model = plain.make()
        projection = ImageProjection(image_embed_dim=10, cross_attention_dim=TEXT_WIDTH, num_image_text_embeds=4)
        model.encoder_hid_proj = fill(MultiIPAdapterImageProjection([projection]))
        model.register_to_config(encoder_hid_dim_type="ip_image_proj")
        for module in model.modules():
            if getattr(module, "is_cross_attention", False):
                sizes = {"hidden_size": 32, "cross_attention_dim": TEXT_WIDTH, "num_tokens": (4,)}
                module.set_processor(fill(IPAdapterAttnProcessor2_0(**sizes)))
        return model

    def inputs(model: Any, batch: int, rows: int, columns: int, seed: int = 1) -> Arguments:
        image = [seeded_noise(seed + 1)(batch, 1, 10)]
        given = plain.inputs(model, batch, rows, columns, seed)
        return {**given, "added_cond_kwargs": {"image_embeds": image}}

    return dataclasses.replace(plain, make=make, inputs=inputs)


def pixart() -> CrossFamily:
    def make() -> Any:
        from diffusers import PixArtTransformer2DModel

        return fill(
            PixArtTransformer2DModel(
                num_attention_heads=2,
                attention_head_dim=8,
                in_channels=4,
                num_layers=3,
                cross_attention_dim=16,
                sample_size=16,
                caption_channels=TEXT_WIDTH,
            )
        )

    def inputs(model: Any, batch: int, rows: int, columns: int, seed: int = 1) -> Arguments:
        noise = seeded_noise(seed)
        return {
            "hidden_states": noise(batch, 4, 2 * rows, 2 * columns),
            "encoder_hidden_states": noise(batch, TOKENS, TEXT_WIDTH),
            "encoder_attention_mask": mask_of(batch),
            "timestep": torch.full((batch,), 500),
            "added_cond_kwargs": {"resolution": None, "aspect_ratio": None},
            "return_dict": False,
        }

    return CrossFamily("PixArt", make, inputs, masked)


def sana() -> CrossFamily:
    def make() -> Any:
        from diffusers import SanaTransformer2DModel

        return fill(
            SanaTransformer2DModel(
                in_channels=8,
                out_channels=8,
                num_layers=3,
                num_attention_heads=2,
                attention_head_dim=8,
                num_cross_attention_heads=2,
                cross_attention_head_dim=8,
                cross_attention_dim=16,
                caption_channels=TEXT_WIDTH,
                sample_size=16,
            )
        )

    def inputs(model: Any, batch: int, rows: int, columns: int, seed: int = 1) -> Arguments:
        noise = seeded_noise(seed)
        return {
            "hidden_states": noise(batch, 8, rows, columns),
            "encoder_hidden_states": noise(batch, TOKENS, TEXT_WIDTH),
            "encoder_attention_mask": mask_of(batch),
            "timestep": torch.full((batch,), 500),
            "return_dict": False,
        }

    return CrossFamily("Sana", make, inputs, masked)


def hunyuan_dit() -> CrossFamily:
    t5_tokens, t5_width = 4, 24

    def make() -> Any:
        from diffusers import HunyuanDiT2DModel

        return fill(
            HunyuanDiT2DModel(
                num_attention_heads=2,
                attention_head_dim=8,
                in_channels=4,
                patch_size=2,
                hidden_size=16,
                num_layers=4,
                cross_attention_dim=TEXT_WIDTH,
                cross_attention_dim_t5=t5_width,
                pooled_projection_dim=12,
                text_len=TOKENS,
                text_len_t5=t5_tokens,
                use_style_cond_and_image_meta_size=False,
            )
        )

    def inputs(model: Any, batch: int, rows: int, columns: int, seed: int = 1) -> Arguments:
        noise = seeded_noise(seed)
        angle = noise(rows * columns, 8)
        return {
            "hidden_states": noise(batch, 4, 2 * rows, 2 * columns),
            "encoder_hidden_states": noise(batch, TOKENS, TEXT_WIDTH),
            "text_embedding_mask": torch.ones(batch, TOKENS, dtype=torch.bool),
            "encoder_hidden_states_t5": noise(batch, t5_tokens, t5_width),
            "text_embedding_mask_t5": torch.ones(batch, t5_tokens, dtype=torch.bool),
            "timestep": torch.full((batch,), 500.0),
            "image_rotary_emb": (angle.cos(), angle.sin()),
            "return_dict": False,
        }

    def texts(inputs: Arguments) -> list[ConceptText]:
        """A word is a token of BERT and one of T5."""
        states, t5 = inputs["encoder_hidden_states"][0], inputs["encoder_hidden_states_t5"][0]
        return [ConceptText(states, (n, n + 1), {"t5_tokens": t5[n : n + 1]}) for n in range(t5_tokens)]

    return CrossFamily(
        "HunyuanDiT",
        make,
        inputs,
        texts,
        layers=4,
        text=lambda tokens, image: tokens + t5_tokens,
        columns_of=lambda text: [*range(*text.own), *([TOKENS + text.own[0]] if text.options else [])],
    )


def fibo2(context: tuple[int, int] | None = None, padded: bool = False) -> CrossFamily:
    """Two of four layers attend to the words; six gist tokens, or eight in longer prompts."""

    def make() -> Any:
        from diffusers import BriaFibo2Transformer2DModel

        return fill(
            BriaFibo2Transformer2DModel(
                in_channels=4,
                dim=24,
                n_layers=4,
                n_refiner_layers=1,
                n_heads=2,
                cap_feat_dim=TEXT_WIDTH,
                injection_layer_ids=(1, 3),
                perceiver_num_layers=1,
                min_num_gist_tokens=6,
                max_num_gist_tokens=8,
                gist_step=2,
                gist_min_text_len=4,
                gist_max_text_len=8,
                axes_dims=(4, 4, 4),
                axes_lens=(32, 32, 32),
            )
        )

    def inputs(model: Any, batch: int, rows: int, columns: int, seed: int = 1) -> Arguments:
        noise = seeded_noise(seed)
        valid = torch.ones(batch, TOKENS, dtype=torch.bool)
        valid[-1, TOKENS - 3 * padded :] = False
        return {
            "hidden_states": noise(batch, 4, 2 * rows, 2 * columns),
            "encoder_hidden_states": noise(batch, 3, TOKENS, TEXT_WIDTH),
            "encoder_attention_mask": valid if padded else None,
            "context_latents": [noise(batch, 4, 2 * context[0], 2 * context[1])] if context else None,
            "timestep": torch.full((batch,), 0.6),
            "return_dict": False,
        }

    def texts(inputs: Arguments) -> list[ConceptText]:
        states = inputs["encoder_hidden_states"][0].transpose(0, 1).flatten(1)
        return [ConceptText(states, (n, n + 1)) for n in range(TOKENS - 3 * padded)]

    def image(queries: int, image: int) -> slice:
        """Gist tokens come first, or last where some rows have fewer."""
        others = context[0] * context[1] if context else 0
        gist = queries - image - others
        return slice(0, image) if padded and gist == 8 and others == 0 else slice(gist, gist + image)

    return CrossFamily("Fibo2", make, inputs, texts, layers=2, sees=lambda queries, image: queries > image, image=image)


def mask_of(batch: int) -> torch.Tensor:
    """The last two tokens are padding."""
    mask = torch.ones(batch, TOKENS)
    mask[:, -2:] = 0
    return mask
