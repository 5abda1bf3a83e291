"""Families of videos."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from ..tiny_transformers import TEXT_WIDTH, Arguments, fill, seeded_noise
from .family import OwnBlockFamily, two_streams


def hunyuan(name: str, video: bool, turns: str, **config: Any) -> OwnBlockFamily:
    second = config.pop("second", False)
    frames = 2 if video else 1

    def make() -> Any:
        import diffusers

        sizes = {"patch_size": 2, "patch_size_t": 1} if video else {"patch_size": (2, 2)}
        axes = (4, 6, 6) if video else (8, 8)
        single = {} if second else {"num_single_layers": 1}
        return fill(
            getattr(diffusers, name)(
                in_channels=4,
                out_channels=4,
                num_attention_heads=3,
                attention_head_dim=16,
                num_layers=3,
                num_refiner_layers=1,
                mlp_ratio=2.0,
                text_embed_dim=TEXT_WIDTH,
                rope_axes_dim=axes,
                **sizes,
                **single,
                **config,
            )
        )

    def inputs(model: Any, batch: int, rows: int, columns: int, text: int = 5, seed: int = 1) -> Arguments:
        noise = seeded_noise(seed)
        mask = torch.ones(batch, text)
        mask[-1, text - text // 3 :] = 0  # padding
        size = (frames, 2 * rows, 2 * columns) if video else (2 * rows, 2 * columns)
        given: Arguments = {
            "hidden_states": noise(batch, 4, *size),
            "timestep": torch.full((batch,), 400.0),
            "encoder_hidden_states": noise(batch, text, TEXT_WIDTH),
            "encoder_attention_mask": mask,
            "return_dict": False,
        }
        if name == "HunyuanVideoTransformer3DModel":
            given |= {"pooled_projections": noise(batch, 8), "guidance": torch.full((batch,), 6000.0)}
        if second:
            glyphs, image = noise(batch, 2, 12), torch.zeros(batch, 2, 12)
            given |= {"encoder_hidden_states_2": glyphs, "encoder_attention_mask_2": torch.zeros(batch, 2)}
            given["image_embeds"] = image
        return given

    def first(model: Any, evaluation: Arguments, embeddings: Tensor) -> Tensor:
        made = []
        for number in range(embeddings.shape[1]):
            mask = torch.ones(len(embeddings), 1, dtype=torch.bool)
            made.append(model.context_embedder(embeddings[:, number, None], evaluation["timestep"], mask))
        kind = model.cond_type_embed.weight[0] if second else 0
        return torch.cat(made, dim=1) + kind

    def mask(model: Any, evaluation: Arguments, arguments: Arguments, concept: Tensor) -> Any:
        return torch.ones(concept.shape[:2], dtype=torch.bool) if second else None

    return OwnBlockFamily(
        make,
        inputs,
        two_streams(attention_mask=mask),
        first,
        text_out=lambda output: output[1],
        text_first=False,
        frames=frames,
        one_token=not second,
    )


def framepack() -> OwnBlockFamily:
    """Three clean frames before, two at half the size, four at a quarter, and an image among the text."""

    def make() -> Any:
        from diffusers import HunyuanVideoFramepackTransformer3DModel

        return fill(
            HunyuanVideoFramepackTransformer3DModel(
                in_channels=4,
                out_channels=4,
                num_attention_heads=3,
                attention_head_dim=16,
                num_layers=3,
                num_single_layers=1,
                num_refiner_layers=1,
                mlp_ratio=2.0,
                text_embed_dim=TEXT_WIDTH,
                pooled_projection_dim=8,
                rope_axes_dim=(4, 6, 6),
                has_image_proj=True,
                image_proj_dim=12,
                has_clean_x_embedder=True,
            )
        )

    def inputs(model: Any, batch: int, rows: int, columns: int, text: int = 5, seed: int = 1) -> Arguments:
        noise, size = seeded_noise(seed), (2 * rows, 2 * columns)
        mask = torch.ones(batch, text)
        mask[-1, text - text // 3 :] = 0  # padding
        places = torch.arange(11)
        return {
            "hidden_states": noise(batch, 4, 2, *size),
            "timestep": torch.full((batch,), 400.0),
            "encoder_hidden_states": noise(batch, text, TEXT_WIDTH),
            "encoder_attention_mask": mask,
            "pooled_projections": noise(batch, 8),
            "image_embeds": noise(batch, 2, 12),
            "indices_latents": places[7:9],
            "guidance": torch.full((batch,), 6000.0),
            "latents_clean": noise(batch, 4, 3, *size),
            "indices_latents_clean": places[[0, 6, 9]],
            "latents_history_2x": noise(batch, 4, 2, *size),
            "indices_latents_history_2x": places[4:6],
            "latents_history_4x": noise(batch, 4, 4, *size),
            "indices_latents_history_4x": places[:4],
            "return_dict": False,
        }

    def first(model: Any, evaluation: Arguments, embeddings: Tensor) -> Tensor:
        mask = torch.ones(len(embeddings), 1, dtype=torch.bool)
        ones = (embeddings[:, number, None] for number in range(embeddings.shape[1]))
        return torch.cat([model.context_embedder(one, evaluation["timestep"], mask) for one in ones], dim=1)

    def before(evaluation: Arguments) -> int:
        *_, height, width = evaluation["hidden_states"].shape
        at = [math.ceil(height / side) * math.ceil(width / side) for side in (2, 4, 8)]
        return 3 * at[0] + at[1] + at[2]

    return OwnBlockFamily(
        make,
        inputs,
        two_streams(),
        first,
        text_out=lambda output: output[1],
        text_first=False,
        frames=2,
        begins=before,
        one_token=False,
    )


def mochi() -> OwnBlockFamily:
    def make() -> Any:
        from diffusers import MochiTransformer3DModel

        return fill(
            MochiTransformer3DModel(
                num_attention_heads=3,
                attention_head_dim=16,
                num_layers=3,
                pooled_projection_dim=24,
                in_channels=4,
                text_embed_dim=TEXT_WIDTH,
                time_embed_dim=8,
            )
        )

    def inputs(model: Any, batch: int, rows: int, columns: int, text: int = 5, seed: int = 1) -> Arguments:
        noise = seeded_noise(seed)
        mask = torch.ones(batch, text, dtype=torch.bool)
        mask[-1, text - text // 3 :] = False  # padding
        return {
            "hidden_states": noise(batch, 4, 2, 2 * rows, 2 * columns),
            "encoder_hidden_states": noise(batch, text, TEXT_WIDTH),
            "encoder_attention_mask": mask,
            "timestep": torch.full((batch,), 400.0),
            "return_dict": False,
        }

    def everything(model: Any, evaluation: Arguments, arguments: Arguments, concept: Tensor) -> Tensor:
        return torch.ones(concept.shape[:2], dtype=torch.bool)

    return OwnBlockFamily(
        make,
        inputs,
        two_streams(encoder_attention_mask=everything),
        text_out=lambda output: output[1],
        text_first=False,
        frames=2,
        row_by_row=True,
    )


def easyanimate() -> OwnBlockFamily:
    def make() -> Any:
        from diffusers import EasyAnimateTransformer3DModel

        return fill(
            EasyAnimateTransformer3DModel(
                num_attention_heads=3,
                attention_head_dim=16,
                in_channels=4,
                out_channels=4,
                patch_size=2,
                num_layers=3,
                mmdit_layers=2,
                time_embed_dim=8,
                text_embed_dim=TEXT_WIDTH,
            )
        )

    def inputs(model: Any, batch: int, rows: int, columns: int, text: int = 5, seed: int = 1) -> Arguments:
        noise = seeded_noise(seed)
        return {
            "hidden_states": noise(batch, 4, 2, 2 * rows, 2 * columns),
            "timestep": torch.full((batch,), 400.0),
            "encoder_hidden_states": noise(batch, text, TEXT_WIDTH),
            "return_dict": False,
        }

    return OwnBlockFamily(make, inputs, two_streams(), text_out=lambda output: output[1], frames=2)


def consisid() -> OwnBlockFamily:
    def make() -> Any:
        from diffusers import ConsisIDTransformer3DModel

        return fill(
            ConsisIDTransformer3DModel(
                num_attention_heads=3,
                attention_head_dim=16,
                in_channels=4,
                out_channels=4,
                time_embed_dim=8,
                text_embed_dim=TEXT_WIDTH,
                num_layers=3,
                sample_width=8,
                sample_height=6,
                sample_frames=9,
                use_rotary_positional_embeddings=True,
            )
        )

    def inputs(model: Any, batch: int, rows: int, columns: int, text: int = 5, seed: int = 1) -> Arguments:
        noise = seeded_noise(seed)
        angle = noise(2 * rows * columns, 8)
        return {
            "hidden_states": noise(batch, 2, 4, 2 * rows, 2 * columns),
            "encoder_hidden_states": noise(batch, text, TEXT_WIDTH),
            "timestep": torch.full((batch,), 400),
            "image_rotary_emb": tuple(part.repeat_interleave(2, dim=1) for part in (angle.cos(), angle.sin())),
            "return_dict": False,
        }

    return OwnBlockFamily(make, inputs, two_streams(), text_out=lambda output: output[1], frames=2)


def minimax_h3() -> OwnBlockFamily:
    def make() -> Any:
        from diffusers import MiniMaxH3Transformer3DModel

        return fill(
            MiniMaxH3Transformer3DModel(
                num_attention_heads=3,
                attention_head_dim=16,
                hidden_size=40,
                num_layers=3,
                num_refiner_layers=1,
                ffn_dim=32,
                in_channels=4,
                audio_in_channels=6,
                text_dim=TEXT_WIDTH,
                freq_dim=16,
                time_embed_hidden_dim=24,
                time_embed_dim=8,
                rope_freq_dim=2,
            )
        )

    def inputs(model: Any, batch: int, rows: int, columns: int, text: int = 5, seed: int = 1) -> Arguments:
        """Text, one keyframe, sound, and two frames of video."""
        noise, frame, sound = seeded_noise(seed), rows * columns, 3
        kinds = [1] * text + [2] * frame + [0] * sound + [2] * 2 * frame  # number 1 is text
        grid = [(row, column) for row in range(rows) for column in range(columns)]
        places = [(place, 0, 0) for place in range(text)] + [(0.5, *one) for one in grid]
        places += [(text + number, 0, 0) for number in range(sound)]
        places += [(text + time, *one) for time in range(2) for one in grid]
        every = torch.arange(len(kinds))
        keyframe = every[text : text + frame]
        return {
            "hidden_states": noise(1, 3 * frame, 16),
            "audio_hidden_states": noise(1, sound, 6),
            "encoder_hidden_states": noise(1, text, TEXT_WIDTH),
            "timestep": torch.tensor([0.0, 400.0]),
            "timestep_indices": torch.tensor([0] * (text + frame) + [1] * (sound + 2 * frame)),
            "token_tags": torch.tensor(kinds),
            "position_ids": torch.tensor(places),
            "video_indices": torch.cat([keyframe, every[-2 * frame :]]),
            "audio_indices": every[text + frame : text + frame + sound],
            "text_indices": every[:text],
            "return_dict": False,
        }

    def first(model: Any, evaluation: Arguments, embeddings: Tensor) -> Tensor:
        ones = [model.context_embedder(embeddings[:, number, None]) for number in range(embeddings.shape[1])]
        return torch.cat([model.token_refiner(one) for one in ones], dim=1)

    def swap(model: Any, evaluation: Arguments, arguments: Arguments, concept: Tensor) -> Arguments:
        """All tokens but the text, of which the video comes last."""
        text, count = evaluation["encoder_hidden_states"].shape[1], concept.shape[1]
        turns = (torch.cat([one[:1].expand(count, -1), one[text:]]) for one in arguments["rotary_emb"])
        rows = arguments["adaln_indices"]
        return {
            **arguments,
            "hidden_states": torch.cat([concept, arguments["hidden_states"][:, text:]], dim=1),
            "adaln_indices": torch.cat([rows[:1].expand(count), rows[text:]]),
            "rotary_emb": tuple(turns),
        }

    return OwnBlockFamily(
        make,
        inputs,
        swap,
        first,
        text_of=lambda arguments: arguments["hidden_states"],
        text_out=lambda output: output,
        frames=2,
    )


def motif_video() -> OwnBlockFamily:
    def make() -> Any:
        from diffusers import MotifVideoTransformer3DModel

        return fill(
            MotifVideoTransformer3DModel(
                in_channels=4,
                out_channels=4,
                num_attention_heads=3,
                attention_head_dim=16,
                num_layers=3,
                num_single_layers=1,
                mlp_ratio=2.0,
                text_embed_dim=TEXT_WIDTH,
                rope_axes_dim=(4, 6, 6),
                enable_text_cross_attention_dual=True,
            )
        )

    def inputs(model: Any, batch: int, rows: int, columns: int, text: int = 5, seed: int = 1) -> Arguments:
        noise = seeded_noise(seed)
        mask = torch.ones(batch, text)
        mask[-1, text - text // 3 :] = 0  # padding
        return {
            "hidden_states": noise(batch, 4, 2, 2 * rows, 2 * columns),
            "timestep": torch.full((batch,), 400.0),
            "encoder_hidden_states": noise(batch, text, TEXT_WIDTH),
            "encoder_attention_mask": mask,
            "return_dict": False,
        }

    return OwnBlockFamily(make, inputs, two_streams(), text_out=lambda output: output[1], text_first=False, frames=2)
