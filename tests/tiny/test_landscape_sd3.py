"""What only the landscape model with Stable Diffusion 3's architecture has to show."""

from __future__ import annotations

from concept_attention.hosts.diffusers import load_pipeline


def test_it_has_the_layout_of_stable_diffusion_3() -> None:
    pipeline = load_pipeline("tiny-sd3", device="cpu")
    blocks = pipeline.transformer.transformer_blocks
    assert [block.attn2 is not None for block in blocks] == [True, False, False, False]
    assert [block.context_pre_only for block in blocks] == [False, False, False, True]
    assert all(block.attn.norm_k is not None for block in blocks)
    text, _, pooled, _ = pipeline.encode_prompt("a house", None, None, max_sequence_length=24)
    assert text.shape == (1, 24 + 24, 128) and pooled.shape == (1, 96)  # CLIP's tokens, then T5's
    assert (text[:, :24, 96:] == 0).all() and text[:, 24:, 96:].abs().max() > 0
