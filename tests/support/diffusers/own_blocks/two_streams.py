"""Families of images with weights of the text's own in a block."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..tiny_transformers import TEXT_WIDTH, Arguments, fill, seeded_noise
from .family import OwnBlockFamily, flux_turns, grid_ids, two_streams


def qwen_image(layers: int = 0, edits: bool = False) -> OwnBlockFamily:
    """Layered has layers, and the image that is parted behind them; Edit a reference, which is at timestep 0."""

    def make() -> Any:
        from diffusers import QwenImageTransformer2DModel

        return fill(
            QwenImageTransformer2DModel(
                in_channels=16,
                out_channels=4,
                num_layers=3,
                attention_head_dim=16,
                num_attention_heads=3,
                joint_attention_dim=TEXT_WIDTH,
                axes_dims_rope=(4, 6, 6),
                use_layer3d_rope=bool(layers),
                zero_cond_t=edits,
            )
        )

    def inputs(model: Any, batch: int, rows: int, columns: int, text: int = 5, seed: int = 1) -> Arguments:
        noise = seeded_noise(seed)
        mask = torch.ones(batch, text, dtype=torch.bool)
        mask[-1, text - text // 3 :] = False  # padding
        shapes = [(1, rows, columns)] * max(1, layers) + [(1, 1, 2)] * (edits or layers > 0)
        return {
            "hidden_states": noise(batch, sum(frames * high * wide for frames, high, wide in shapes), 16),
            "encoder_hidden_states": noise(batch, text, TEXT_WIDTH),
            "encoder_hidden_states_mask": mask,
            "timestep": torch.rand(batch, generator=torch.Generator().manual_seed(seed)),
            "img_shapes": [shapes] * batch,
            "return_dict": False,
        }

    def turns(model: Any, evaluation: Arguments, arguments: Arguments, concept: Tensor) -> Any:
        image, text = arguments["image_rotary_emb"]
        return image, text[:1].expand(concept.shape[1], -1)

    more = 2 if edits or layers else 0
    return OwnBlockFamily(make, inputs, two_streams(image_rotary_emb=turns), frames=max(1, layers), references=more)


def flux_like(name: str, position: int = 0, **config: Any) -> OwnBlockFamily:
    def make() -> Any:
        import diffusers

        return fill(
            getattr(diffusers, name)(
                in_channels=16,
                num_layers=3,
                num_single_layers=1,
                attention_head_dim=16,
                num_attention_heads=3,
                joint_attention_dim=TEXT_WIDTH,
                axes_dims_rope=(4, 6, 6),
                **config,
            )
        )

    def inputs(model: Any, batch: int, rows: int, columns: int, text: int = 5, seed: int = 1) -> Arguments:
        noise, places = seeded_noise(seed), torch.arange(text, dtype=torch.float32)
        return {
            "hidden_states": noise(batch, rows * columns, 16),
            "encoder_hidden_states": noise(batch, text, TEXT_WIDTH),
            "timestep": torch.rand(batch, generator=torch.Generator().manual_seed(seed)),
            "img_ids": grid_ids(rows, columns),
            "txt_ids": torch.stack([0 * places, places, places], dim=1),
            "return_dict": False,
        }

    return OwnBlockFamily(make, inputs, two_streams(image_rotary_emb=flux_turns(position)))


def flux3() -> OwnBlockFamily:
    def make() -> Any:
        from diffusers import Flux3Transformer2DModel

        return fill(
            Flux3Transformer2DModel(
                in_channels=16,
                cond_in_channels=16,
                num_layers=1,
                num_single_layers=3,
                attention_head_dim=16,
                num_attention_heads=3,
                joint_attention_dim=TEXT_WIDTH,
                timestep_channels=16,
                axes_dims_rope=(4, 4, 4, 4),
            )
        )

    def inputs(model: Any, batch: int, rows: int, columns: int, text: int = 5, seed: int = 1) -> Arguments:
        noise, ones = seeded_noise(seed), torch.arange(1)
        return {
            "hidden_states": noise(batch, rows * columns, 16),
            "encoder_hidden_states": noise(batch, text, TEXT_WIDTH),
            "timestep": torch.rand(batch, generator=torch.Generator().manual_seed(seed)),
            "img_ids": grid_ids(rows, columns, 0) * 0.5,
            "txt_ids": torch.cartesian_prod(ones, ones, ones, torch.arange(text)).float(),
            "return_dict": False,
        }

    def modulation(model: Any, evaluation: Arguments, arguments: Arguments, concept: Tensor) -> Tensor:
        return arguments["temb_mod_context"][:, :1].expand(-1, concept.shape[1], -1)

    swap = two_streams(image_rotary_emb=flux_turns(), temb_mod_context=modulation)
    return OwnBlockFamily(make, inputs, swap, blocks="single_transformer_blocks")


def auraflow() -> OwnBlockFamily:
    def make() -> Any:
        from diffusers import AuraFlowTransformer2DModel

        return fill(
            AuraFlowTransformer2DModel(
                sample_size=16,
                num_mmdit_layers=3,
                num_single_dit_layers=1,
                attention_head_dim=16,
                num_attention_heads=3,
                joint_attention_dim=TEXT_WIDTH,
                caption_projection_dim=48,
                pos_embed_max_size=64,
            )
        )

    def inputs(model: Any, batch: int, rows: int, columns: int, text: int = 5, seed: int = 1) -> Arguments:
        noise = seeded_noise(seed)
        return {
            "hidden_states": noise(batch, 4, 2 * rows, 2 * columns),
            "encoder_hidden_states": noise(batch, text, TEXT_WIDTH),
            "timestep": torch.rand(batch, generator=torch.Generator().manual_seed(seed)),
            "return_dict": False,
        }

    return OwnBlockFamily(
        make,
        inputs,
        two_streams(),
        lambda model, evaluation, embeddings: model.context_embedder(embeddings),
        blocks="joint_transformer_blocks",
        one_token=False,
    )


def hidream() -> OwnBlockFamily:
    def make() -> Any:
        from diffusers import HiDreamImageTransformer2DModel

        return fill(
            HiDreamImageTransformer2DModel(
                patch_size=2,
                in_channels=4,
                out_channels=4,
                num_layers=3,
                num_single_layers=1,
                attention_head_dim=16,
                num_attention_heads=3,
                caption_channels=[TEXT_WIDTH, 24],
                text_emb_dim=20,
                axes_dims_rope=(4, 6, 6),
                max_resolution=(8, 8),
                llama_layers=[0, 1, 0, 1],
            )
        )

    def inputs(model: Any, batch: int, rows: int, columns: int, text: int = 5, seed: int = 1) -> Arguments:
        noise = seeded_noise(seed)
        return {
            "hidden_states": noise(batch, 4, 2 * rows, 2 * columns),
            "timesteps": torch.full((batch,), 400.0),
            "encoder_hidden_states_t5": noise(batch, text, TEXT_WIDTH),
            "encoder_hidden_states_llama3": noise(2, batch, 4, 24),
            "pooled_embeds": noise(batch, 20),
            "return_dict": False,
        }

    def turns(model: Any, evaluation: Arguments, arguments: Arguments, concept: Tensor) -> Any:
        image = arguments["hidden_states"].shape[1]
        turns = arguments["image_rotary_emb"]
        return torch.cat([turns[:, :image], turns[:, image, None].expand(-1, concept.shape[1], *[-1] * 4)], dim=1)

    return OwnBlockFamily(
        make,
        inputs,
        two_streams(image_rotary_emb=turns),
        lambda model, evaluation, embeddings: model.caption_projection[-1](embeddings),
        text_out=lambda output: output[1],
        blocks="double_stream_blocks",
        inner=lambda block: block.block,
        text_first=False,
        one_token=False,
    )


def joyimage() -> OwnBlockFamily:
    def make() -> Any:
        from diffusers import JoyImageEditTransformer3DModel

        return fill(
            JoyImageEditTransformer3DModel(
                in_channels=4,
                hidden_size=48,
                num_attention_heads=3,
                text_dim=TEXT_WIDTH,
                mlp_width_ratio=2.0,
                num_layers=3,
                rope_dim_list=[4, 6, 6],
            )
        )

    def inputs(model: Any, batch: int, rows: int, columns: int, text: int = 5, seed: int = 1) -> Arguments:
        noise = seeded_noise(seed)
        return {
            "hidden_states": noise(batch, 4, 1, 2 * rows, 2 * columns),
            "timestep": torch.full((batch,), 400.0),
            "encoder_hidden_states": noise(batch, text, TEXT_WIDTH),
            "return_dict": False,
        }

    return OwnBlockFamily(
        make, inputs, two_streams(), text_out=lambda output: output[1], blocks="double_blocks", text_first=False
    )


def joyimage_edit_plus() -> OwnBlockFamily:
    """With one reference image of 1 x 2 tokens."""

    def make() -> Any:
        from diffusers import JoyImageEditPlusTransformer3DModel

        return fill(
            JoyImageEditPlusTransformer3DModel(
                in_channels=4,
                hidden_size=48,
                num_attention_heads=3,
                text_dim=TEXT_WIDTH,
                mlp_width_ratio=2.0,
                num_layers=3,
                rope_dim_list=[4, 6, 6],
            )
        )

    def inputs(model: Any, batch: int, rows: int, columns: int, text: int = 5, seed: int = 1) -> Arguments:
        noise, mask = seeded_noise(seed), torch.ones(batch, text)
        mask[-1, text - text // 3 :] = 0  # padding
        return {
            "hidden_states": noise(batch, rows * columns + 2, 4, 1, 2, 2),
            "timestep": torch.full((batch,), 400.0),
            "encoder_hidden_states": noise(batch, text, TEXT_WIDTH),
            "encoder_hidden_states_mask": mask,
            "shape_list": [[(1, rows, columns), (1, 1, 2)]] * batch,
            "return_dict": False,
        }

    return OwnBlockFamily(
        make, inputs, two_streams(), text_out=lambda output: output[1], blocks="double_blocks", text_first=False
    )


def cogview(name: str, **config: Any) -> OwnBlockFamily:
    def make() -> Any:
        import diffusers

        return fill(
            getattr(diffusers, name)(
                in_channels=4,
                out_channels=4,
                num_layers=3,
                attention_head_dim=16,
                num_attention_heads=3,
                text_embed_dim=TEXT_WIDTH,
                time_embed_dim=8,
                condition_dim=4,
                pos_embed_max_size=16,
                sample_size=8,
                **config,
            )
        )

    def inputs(model: Any, batch: int, rows: int, columns: int, text: int = 5, seed: int = 1) -> Arguments:
        noise, size = seeded_noise(seed), torch.tensor([[32.0, 32.0]] * batch)
        return {
            "hidden_states": noise(batch, 4, 2 * rows, 2 * columns),
            "encoder_hidden_states": noise(batch, text, TEXT_WIDTH),
            "timestep": torch.full((batch,), 400.0),
            "original_size": size,
            "target_size": size,
            "crop_coords": 0 * size,
            "return_dict": False,
        }

    return OwnBlockFamily(make, inputs, two_streams(), text_out=lambda output: output[1])
