"""Families of videos with cross-attention."""

from __future__ import annotations

from typing import Any

import torch

from ..tiny_transformers import Arguments, fill, seeded_noise
from .family import TEXT_WIDTH, TOKENS, CrossFamily, first_tokens, masked
from .images import mask_of

FRAMES = 3  # of a latent


def wan(name: str = "WanTransformer3DModel", sees_image: bool = False, **config: Any) -> CrossFamily:
    def make() -> Any:
        import diffusers

        more = {"image_dim": 20, "added_kv_proj_dim": 24} if sees_image else {}
        return fill(
            getattr(diffusers, name)(
                num_attention_heads=2,
                attention_head_dim=12,
                in_channels=4,
                out_channels=4,
                text_dim=TEXT_WIDTH,
                freq_dim=16,
                ffn_dim=32,
                num_layers=3,
                rope_max_seq_len=32,
                **more,
                **config,
            )
        )

    def inputs(model: Any, batch: int, rows: int, columns: int, seed: int = 1) -> Arguments:
        noise = seeded_noise(seed)
        latent = (batch, 4, FRAMES, 2 * rows, 2 * columns)
        made: Arguments = {
            "hidden_states": noise(*latent),
            "encoder_hidden_states": noise(batch, 512 if sees_image else TOKENS, TEXT_WIDTH),
            "timestep": torch.full((batch,), 500),
            "return_dict": False,
        }
        if sees_image:
            made["encoder_hidden_states_image"] = noise(batch, 5, 20)
        if "VACE" in name:
            made["control_hidden_states"] = noise(batch, config["vace_in_channels"], *latent[2:])
        return made

    return CrossFamily(
        "Wan",
        make,
        inputs,
        texts=lambda inputs: first_tokens(inputs)[:TOKENS],
        frames=FRAMES,
        text=lambda tokens, image: 512 if sees_image else tokens,
        before=len(config.get("vace_layers", ())),
    )


def ltx() -> CrossFamily:
    def make() -> Any:
        from diffusers import LTXVideoTransformer3DModel

        return fill(
            LTXVideoTransformer3DModel(
                in_channels=8,
                out_channels=8,
                num_attention_heads=2,
                attention_head_dim=12,
                cross_attention_dim=24,
                num_layers=3,
                caption_channels=TEXT_WIDTH,
            )
        )

    def inputs(model: Any, batch: int, rows: int, columns: int, seed: int = 1) -> Arguments:
        noise = seeded_noise(seed)
        return {
            "hidden_states": noise(batch, FRAMES * rows * columns, 8),
            "encoder_hidden_states": noise(batch, TOKENS, TEXT_WIDTH),
            "encoder_attention_mask": mask_of(batch),
            "timestep": torch.full((batch,), 500),
            "num_frames": FRAMES,
            "height": rows,
            "width": columns,
            "return_dict": False,
        }

    return CrossFamily("LTXVideo", make, inputs, masked, frames=FRAMES)


def ltx2(newer: bool = False) -> CrossFamily:
    """LTX-2, or 2.3, which modulates its text and projects none."""

    def make() -> Any:
        from diffusers import LTX2VideoTransformer3DModel

        more = {
            "cross_attn_mod": True,
            "audio_cross_attn_mod": True,
            "gated_attn": True,
            "audio_gated_attn": True,
            "use_prompt_embeddings": False,
        }
        return fill(
            LTX2VideoTransformer3DModel(
                in_channels=8,
                out_channels=8,
                num_attention_heads=2,
                attention_head_dim=TEXT_WIDTH // 2 if newer else 12,
                cross_attention_dim=TEXT_WIDTH if newer else 24,
                audio_in_channels=6,
                audio_out_channels=6,
                audio_num_attention_heads=2,
                audio_attention_head_dim=8,
                audio_cross_attention_dim=16,
                num_layers=3,
                caption_channels=TEXT_WIDTH,
                **(more if newer else {}),
            )
        )

    def inputs(model: Any, batch: int, rows: int, columns: int, seed: int = 1) -> Arguments:
        noise = seeded_noise(seed)
        return {
            "hidden_states": noise(batch, FRAMES * rows * columns, 8),
            "audio_hidden_states": noise(batch, 5, 6),
            "encoder_hidden_states": noise(batch, TOKENS, TEXT_WIDTH),
            "audio_encoder_hidden_states": noise(batch, TOKENS, 16 if newer else TEXT_WIDTH),
            "encoder_attention_mask": mask_of(batch),
            "audio_encoder_attention_mask": mask_of(batch),
            "timestep": torch.full((batch,), 500.0),
            "sigma": torch.full((batch,), 500.0),
            "num_frames": FRAMES,
            "height": rows,
            "width": columns,
            "audio_num_frames": 5,
            "return_dict": False,
        }

    return CrossFamily("LTX2", make, inputs, masked, frames=FRAMES)


def kandinsky5() -> CrossFamily:
    def make() -> Any:
        from diffusers import Kandinsky5Transformer3DModel

        return fill(
            Kandinsky5Transformer3DModel(
                in_visual_dim=4,
                out_visual_dim=4,
                in_text_dim=TEXT_WIDTH,
                in_text_dim2=20,
                time_dim=16,
                model_dim=24,
                ff_dim=32,
                num_text_blocks=2,
                num_visual_blocks=3,
                axes_dims=(4, 4, 4),
            )
        )

    def inputs(model: Any, batch: int, rows: int, columns: int, seed: int = 1) -> Arguments:
        noise = seeded_noise(seed)
        return {
            "hidden_states": noise(batch, FRAMES, 2 * rows, 2 * columns, 4),
            "encoder_hidden_states": noise(batch, TOKENS, TEXT_WIDTH),
            "timestep": torch.full((batch,), 500.0),
            "pooled_projections": noise(1, 20).expand(batch, -1),
            "visual_rope_pos": [torch.arange(count) for count in (FRAMES, rows, columns)],
            "text_rope_pos": torch.arange(TOKENS),
            "return_dict": True,
        }

    return CrossFamily("Kandinsky5", make, inputs, frames=FRAMES)


def sana_video() -> CrossFamily:
    def make() -> Any:
        from diffusers import SanaVideoTransformer3DModel

        return fill(
            SanaVideoTransformer3DModel(
                in_channels=4,
                out_channels=4,
                num_layers=3,
                num_attention_heads=2,
                attention_head_dim=12,
                num_cross_attention_heads=2,
                cross_attention_head_dim=12,
                cross_attention_dim=24,
                caption_channels=TEXT_WIDTH,
                rope_max_seq_len=32,
            )
        )

    def inputs(model: Any, batch: int, rows: int, columns: int, seed: int = 1) -> Arguments:
        noise = seeded_noise(seed)
        frame_patch, height, width = model.config.patch_size
        return {
            "hidden_states": noise(batch, 4, FRAMES * frame_patch, height * rows, width * columns),
            "encoder_hidden_states": noise(batch, TOKENS, TEXT_WIDTH),
            "encoder_attention_mask": mask_of(batch),
            "timestep": torch.full((batch,), 500),
            "return_dict": False,
        }

    return CrossFamily("SanaVideo", make, inputs, masked, frames=FRAMES)


def allegro() -> CrossFamily:
    def make() -> Any:
        from diffusers import AllegroTransformer3DModel

        return fill(
            AllegroTransformer3DModel(
                num_attention_heads=2,
                attention_head_dim=12,
                in_channels=4,
                out_channels=4,
                num_layers=3,
                cross_attention_dim=24,
                sample_height=8,
                sample_width=8,
                sample_frames=6,
                caption_channels=TEXT_WIDTH,
            )
        )

    def inputs(model: Any, batch: int, rows: int, columns: int, seed: int = 1) -> Arguments:
        from diffusers.models.embeddings import get_3d_rotary_pos_embed_allegro

        noise = seeded_noise(seed)
        *turns, frame, row, column = get_3d_rotary_pos_embed_allegro(
            embed_dim=12,
            crops_coords=((0, 0), (rows, columns)),
            grid_size=(rows, columns),
            temporal_size=FRAMES,
            interpolation_scale=(1.0, 1.0, 1.0),
        )
        places = torch.cartesian_prod(frame.long(), row.long(), column.long()).T.contiguous()
        return {
            "hidden_states": noise(batch, 4, FRAMES, 2 * rows, 2 * columns),
            "encoder_hidden_states": noise(batch, TOKENS, TEXT_WIDTH),
            "encoder_attention_mask": mask_of(batch),
            "timestep": torch.full((batch,), 500),
            "image_rotary_emb": (turns, places[:, None]),
            "return_dict": False,
        }

    return CrossFamily("Allegro", make, inputs, masked, frames=FRAMES)


def latte() -> CrossFamily:
    def make() -> Any:
        from diffusers import LatteTransformer3DModel

        return fill(
            LatteTransformer3DModel(
                num_attention_heads=2,
                attention_head_dim=12,
                in_channels=4,
                out_channels=8,
                num_layers=3,
                cross_attention_dim=24,
                attention_bias=True,
                sample_size=16,
                patch_size=2,
                activation_fn="gelu-approximate",
                norm_type="ada_norm_single",
                norm_elementwise_affine=False,
                caption_channels=TEXT_WIDTH,
                video_length=FRAMES,
            )
        )

    def inputs(model: Any, batch: int, rows: int, columns: int, seed: int = 1) -> Arguments:
        noise = seeded_noise(seed)
        return {
            "hidden_states": noise(batch, 4, FRAMES, 2 * rows, 2 * columns),
            "encoder_hidden_states": noise(batch, TOKENS, TEXT_WIDTH),
            "timestep": torch.full((batch,), 500),
            "return_dict": False,
        }

    return CrossFamily(
        "Latte", make, inputs, frames=FRAMES, sees=lambda queries, image: queries * FRAMES == image, rows_of_frames=True
    )


def cosmos(first: bool = False, projects: bool = False, sees_image: bool = False) -> CrossFamily:
    def make() -> Any:
        from diffusers import CosmosTransformer3DModel

        more: dict[str, Any] = {}
        if projects:
            more |= {
                "use_crossattn_projection": True,
                "crossattn_proj_in_channels": TEXT_WIDTH,
                "encoder_hidden_states_channels": 20,
            }
        if sees_image:
            more |= {"img_context_dim_in": 10, "img_context_num_tokens": 4, "img_context_dim_out": 24}
        return fill(
            CosmosTransformer3DModel(
                in_channels=4,
                out_channels=4,
                num_attention_heads=2,
                attention_head_dim=12,
                num_layers=3,
                mlp_ratio=2,
                text_embed_dim=20 if projects else TEXT_WIDTH,
                adaln_lora_dim=4,
                max_size=(4, 32, 32),
                concat_padding_mask=False,
                extra_pos_embed_type="learnable" if first else None,
                **more,
            )
        )

    def inputs(model: Any, batch: int, rows: int, columns: int, seed: int = 1) -> Arguments:
        noise = seeded_noise(seed)
        text = noise(batch, TOKENS, TEXT_WIDTH)
        return {
            "hidden_states": noise(batch, 4, FRAMES, 2 * rows, 2 * columns),
            "encoder_hidden_states": (text, noise(batch, 4, 10)) if sees_image else text,
            "timestep": torch.full((batch,), 0.5),
            "fps": 24 if first else None,
            "return_dict": False,
        }

    return CrossFamily("Cosmos", make, inputs, frames=FRAMES)
