"""Lumina Image 2.0 and Z-Image, whose text and image share all weights of a block."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..tiny_transformers import TEXT_WIDTH, Arguments, fill, seeded_noise
from .family import OwnBlockFamily


def lumina2() -> OwnBlockFamily:
    def make() -> Any:
        from diffusers import Lumina2Transformer2DModel

        return fill(
            Lumina2Transformer2DModel(
                in_channels=4,
                hidden_size=48,
                num_layers=3,
                num_refiner_layers=1,
                num_attention_heads=3,
                num_kv_heads=1,
                multiple_of=16,
                axes_dim_rope=(4, 6, 6),
                axes_lens=(32, 16, 16),
                cap_feat_dim=TEXT_WIDTH,
            )
        )

    def inputs(model: Any, batch: int, rows: int, columns: int, text: int = 5, seed: int = 1) -> Arguments:
        noise = seeded_noise(seed)
        mask = torch.ones(batch, text, dtype=torch.int64)
        mask[-1, text - text // 3 :] = 0  # padding: this row's image begins earlier
        return {
            "hidden_states": noise(batch, 4, 2 * rows, 2 * columns),
            "timestep": torch.rand(batch, generator=torch.Generator().manual_seed(seed)),
            "encoder_hidden_states": noise(batch, text, TEXT_WIDTH),
            "encoder_attention_mask": mask,
            "return_dict": False,
        }

    def first(model: Any, evaluation: Arguments, embeddings: Tensor) -> Tensor:
        """Each in the refiner alone, at the second position."""
        turns = model.rope_embedder._get_freqs_cis(torch.tensor([[[1, 0, 0]]] * len(embeddings)))
        made = []
        for number in range(embeddings.shape[1]):
            one = model.time_caption_embed.caption_embedder(embeddings[:, number, None])
            made.append(model.context_refiner[0](one, torch.ones(len(embeddings), 1), turns))
        return torch.cat(made, dim=1)

    def swap(model: Any, evaluation: Arguments, arguments: Arguments, concept: Tensor) -> Arguments:
        joint, turns = [], []
        lengths = evaluation["encoder_attention_mask"].sum(dim=1).tolist()
        image = evaluation["hidden_states"].shape[2] * evaluation["hidden_states"].shape[3] // 4
        for row, length in enumerate(lengths):
            own = arguments["hidden_states"][row, length : length + image]
            joint.append(torch.cat([concept[row], own]))
            turn = arguments["image_rotary_emb"][row]
            turns.append(torch.cat([turn[1, None].expand(concept.shape[1], -1), turn[length : length + image]]))
        return {
            **arguments,
            "hidden_states": torch.stack(joint),
            "attention_mask": None,
            "image_rotary_emb": torch.stack(turns),
        }

    return OwnBlockFamily(
        make,
        inputs,
        swap,
        first,
        text_of=lambda arguments: arguments["hidden_states"],
        text_out=lambda output: output,
        blocks="layers",
    )


def make_z_image(**config: Any) -> Any:
    from diffusers import ZImageTransformer2DModel

    return fill(
        ZImageTransformer2DModel(
            in_channels=4,
            dim=48,
            n_layers=3,
            n_refiner_layers=1,
            n_heads=3,
            n_kv_heads=3,
            cap_feat_dim=TEXT_WIDTH,
            axes_dims=[4, 6, 6],
            axes_lens=[128, 32, 32],
            **config,
        )
    )


def z_image() -> OwnBlockFamily:

    def inputs(model: Any, batch: int, rows: int, columns: int, text: int = 5, seed: int = 1) -> Arguments:
        noise = seeded_noise(seed)
        return {
            "x": [noise(4, 1, 2 * rows, 2 * columns) for _ in range(batch)],
            "t": torch.rand(batch, generator=torch.Generator().manual_seed(seed)),
            "cap_feats": [noise(text + (30 if row else 0), TEXT_WIDTH) for row in range(batch)],
            "return_dict": False,
        }

    def first(model: Any, evaluation: Arguments, embeddings: Tensor) -> Tensor:
        """Each in the refiner alone, at the fourth position, counted from one."""
        turns = model.rope_embedder(torch.tensor([[4, 0, 0]]))[None].expand(len(embeddings), -1, -1)
        made = []
        for number in range(embeddings.shape[1]):
            made.append(model.context_refiner[0](model.cap_embedder(embeddings[:, number, None]), None, turns))
        return torch.cat(made, dim=1)

    def swap(model: Any, evaluation: Arguments, arguments: Arguments, concept: Tensor) -> Arguments:
        image = 32  # so long is every image here, with its padding
        turn = model.rope_embedder(torch.tensor([[4, 0, 0]])).expand(len(concept), concept.shape[1], -1)
        return {
            **arguments,
            "x": torch.cat([arguments["x"][:, :image], concept], dim=1),
            "attn_mask": None,
            "freqs_cis": torch.cat([arguments["freqs_cis"][:, :image], turn], dim=1),
        }

    return OwnBlockFamily(
        make_z_image,
        inputs,
        swap,
        first,
        text_of=lambda arguments: arguments["x"],
        text_out=lambda output: output,
        blocks="layers",
        text_first=False,
        one_token=False,
    )


def z_image_omni() -> OwnBlockFamily:
    """With one reference image of 1 x 2 tokens, and what a vision model saw of it; every part is padded to 32."""
    words = 36  # of the second caption, which holds the prompt

    def inputs(model: Any, batch: int, rows: int, columns: int, text: int = 5, seed: int = 1) -> Arguments:
        noise = seeded_noise(seed)
        images = [[noise(4, 1, 2, 4), noise(4, 1, 2 * rows, 2 * columns)] for _ in range(batch)]
        return {
            "x": images,
            "t": torch.rand(batch, generator=torch.Generator().manual_seed(seed)),
            "cap_feats": [[noise(text, TEXT_WIDTH), noise(words, TEXT_WIDTH), noise(2, TEXT_WIDTH)] for _ in images],
            "siglip_feats": [[noise(2, 2, 12), None] for _ in images],
            "image_noise_mask": [[0, 1] for _ in images],
            "return_dict": False,
        }

    def turn(model: Any, concept: Tensor) -> Tensor:
        """Of the second caption's second token: behind a caption the model has as many zero positions as padding."""
        return model.rope_embedder(torch.tensor([[0, 0, 0]])).expand(*concept.shape[:2], -1)

    def first(model: Any, evaluation: Arguments, embeddings: Tensor) -> Tensor:
        made, own = [], turn(model, embeddings[:, :1])
        for number in range(embeddings.shape[1]):
            made.append(model.context_refiner[0](model.cap_embedder(embeddings[:, number, None]), None, own))
        return torch.cat(made, dim=1)

    def swap(model: Any, evaluation: Arguments, arguments: Arguments, concept: Tensor) -> Arguments:
        captions = 32 + 64 + 32
        noisy = torch.ones(concept.shape[:2], dtype=torch.long)
        return {
            **arguments,
            "x": torch.cat([concept, arguments["x"][:, captions:]], dim=1),
            "attn_mask": None,
            "freqs_cis": torch.cat([turn(model, concept), arguments["freqs_cis"][:, captions:]], dim=1),
            "noise_mask": torch.cat([noisy, arguments["noise_mask"][:, captions:]], dim=1),
        }

    def begins(inputs: Arguments) -> int:
        return 32 + 64 + 32 + 32  # behind the captions and the reference

    return OwnBlockFamily(
        lambda: make_z_image(siglip_feat_dim=12),
        inputs,
        swap,
        first,
        text_of=lambda arguments: arguments["x"],
        text_out=lambda output: output,
        blocks="layers",
        begins=begins,
        one_token=False,
    )
