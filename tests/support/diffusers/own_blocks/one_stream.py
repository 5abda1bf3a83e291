"""Families of images whose text and image share all weights of a block."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..tiny_transformers import TEXT_WIDTH, Arguments, fill, seeded_noise
from .family import OwnBlockFamily, grid_ids


def krea2() -> OwnBlockFamily:
    def make() -> Any:
        from diffusers import Krea2Transformer2DModel

        return fill(
            Krea2Transformer2DModel(
                in_channels=16,
                num_layers=3,
                attention_head_dim=16,
                num_attention_heads=4,
                num_key_value_heads=2,
                intermediate_size=32,
                timestep_embed_dim=16,
                text_hidden_dim=TEXT_WIDTH // 2,
                num_text_layers=2,
                text_num_attention_heads=2,
                text_num_key_value_heads=2,
                text_intermediate_size=32,
                num_layerwise_text_blocks=1,
                num_refiner_text_blocks=1,
                axes_dims_rope=(4, 6, 6),
            )
        )

    def inputs(model: Any, batch: int, rows: int, columns: int, text: int = 5, seed: int = 1) -> Arguments:
        noise = seeded_noise(seed)
        mask = torch.ones(batch, text, dtype=torch.bool)
        mask[-1, text - text // 3 :] = False  # padding
        return {
            "hidden_states": noise(batch, rows * columns, 16),
            "encoder_hidden_states": noise(batch, text, 2, TEXT_WIDTH // 2),
            "timestep": torch.rand(batch, generator=torch.Generator().manual_seed(seed)),
            "position_ids": torch.cat([torch.zeros(text, 3), grid_ids(rows, columns)]),
            "encoder_attention_mask": mask,
            "return_dict": False,
        }

    def first(model: Any, evaluation: Arguments, embeddings: Tensor) -> Tensor:
        made = []
        for number in range(embeddings.shape[1]):
            one = embeddings[:, number, None].unflatten(-1, (2, -1))
            made.append(model.txt_in(model.text_fusion(one)))
        return torch.cat(made, dim=1)

    def swap(model: Any, evaluation: Arguments, arguments: Arguments, concept: Tensor) -> Arguments:
        text = evaluation["encoder_hidden_states"].shape[1]
        turns = (torch.cat([one[:1].expand(concept.shape[1], -1), one[text:]]) for one in arguments["image_rotary_emb"])
        joint = torch.cat([concept, arguments["hidden_states"][:, text:]], dim=1)
        return {**arguments, "hidden_states": joint, "image_rotary_emb": tuple(turns), "attention_mask": None}

    return OwnBlockFamily(
        make,
        inputs,
        swap,
        first,
        text_of=lambda arguments: arguments["hidden_states"],
        text_out=lambda output: output,
    )


def ideogram4() -> OwnBlockFamily:
    def make() -> Any:
        from diffusers import Ideogram4Transformer2DModel

        return fill(
            Ideogram4Transformer2DModel(
                in_channels=16,
                num_layers=3,
                attention_head_dim=16,
                num_attention_heads=3,
                intermediate_size=32,
                adaln_dim=8,
                llm_features_dim=TEXT_WIDTH,
                mrope_section=(4, 2, 2),
            )
        )

    def inputs(model: Any, batch: int, rows: int, columns: int, text: int = 6, seed: int = 1) -> Arguments:
        """The last row's prompt is shorter by one, and padded at the left."""
        noise, image = seeded_noise(seed), rows * columns
        places = torch.zeros(batch, text + image, 3, dtype=torch.long)
        segments = torch.ones(batch, text + image, dtype=torch.long)
        indicator = torch.full((batch, text + image), 2)
        places[:, :text] = torch.arange(text)[:, None]
        places[:, text:] = grid_ids(rows, columns).long() + 7
        indicator[:, :text] = 3
        if text > 5:
            places[-1, :text] -= 1
            segments[-1, 0], indicator[-1, 0] = -1, 0
        return {
            "hidden_states": noise(batch, text + image, 16),
            "timestep": torch.rand(batch, generator=torch.Generator().manual_seed(seed)),
            "encoder_hidden_states": noise(batch, text + image, TEXT_WIDTH),
            "position_ids": places,
            "segment_ids": segments,
            "indicator": indicator,
            "return_dict": False,
        }

    def first(model: Any, evaluation: Arguments, embeddings: Tensor) -> Tensor:
        return model.llm_cond_proj(model.llm_cond_norm(embeddings)) + model.embed_image_indicator.weight[0]

    def swap(model: Any, evaluation: Arguments, arguments: Arguments, concept: Tensor) -> Arguments:
        image = int((evaluation["indicator"][0] == 2).sum())
        word = model.rotary_emb(torch.tensor([[[3, 3, 3]]] * len(concept)))
        turns = (
            torch.cat([own.expand(-1, concept.shape[1], -1), one[:, -image:]], dim=1)
            for own, one in zip(word, arguments["image_rotary_emb"], strict=True)
        )
        joint = torch.cat([concept, arguments["hidden_states"][:, -image:]], dim=1)
        return {**arguments, "hidden_states": joint, "image_rotary_emb": tuple(turns), "attention_mask": None}

    return OwnBlockFamily(
        make,
        inputs,
        swap,
        first,
        text_of=lambda arguments: arguments["hidden_states"],
        text_out=lambda output: output,
        blocks="layers",
    )


def ernie_image() -> OwnBlockFamily:
    def make() -> Any:
        from diffusers import ErnieImageTransformer2DModel

        return fill(
            ErnieImageTransformer2DModel(
                hidden_size=48,
                num_attention_heads=3,
                num_layers=3,
                ffn_hidden_size=32,
                in_channels=4,
                out_channels=4,
                text_in_dim=TEXT_WIDTH,
                rope_axes_dim=(4, 6, 6),
            )
        )

    def inputs(model: Any, batch: int, rows: int, columns: int, text: int = 5, seed: int = 1) -> Arguments:
        noise = seeded_noise(seed)
        lengths = torch.full((batch,), text)
        lengths[-1] -= text // 3  # padding
        return {
            "hidden_states": noise(batch, 4, rows, columns),
            "timestep": torch.full((batch,), 400.0),
            "text_bth": noise(batch, text, TEXT_WIDTH),
            "text_lens": lengths,
            "return_dict": False,
        }

    def swap(model: Any, evaluation: Arguments, arguments: Arguments, concept: Tensor) -> Arguments:
        *_, rows, columns = evaluation["hidden_states"].shape
        image, count = rows * columns, concept.shape[1]
        turns = arguments["rotary_pos_emb"]
        return {
            **arguments,
            "x": torch.cat([arguments["x"][:image], concept.transpose(0, 1)]),
            "rotary_pos_emb": torch.cat([turns[:, :image], turns[:, image + 1, None].expand(-1, count, -1, -1)], dim=1),
            "temb": [part[:1].expand(image + count, -1, -1) for part in arguments["temb"]],
            "attention_mask": None,
        }

    return OwnBlockFamily(
        make,
        inputs,
        swap,
        lambda model, evaluation, embeddings: model.text_proj(embeddings),
        prompt="text_bth",
        text_of=lambda arguments: arguments["x"],
        text_out=lambda output: output.transpose(0, 1),
        blocks="layers",
        text_first=False,
    )
