"""The parts of the landscape model with CogVideoX's architecture, which makes clips.

Its blocks share their weights between text and image. As in CogVideoX-5B, positions in time and space are rotary, and
text tokens have none.
"""

from __future__ import annotations

from diffusers import CogVideoXTransformer3DModel

from .codec import CHANNELS
from .parts import JointParts
from .text_encoders import TEXT_WIDTH, build_t5
from .texts import TEXT_TOKENS

BLOCKS = 4
HEADS = 2  # of 64, as in CogVideoX
TIME_WIDTH = 64
LATENT_SIDE = 16  # latent pixels along a side of an image
FRAMES = 9


def build_cogvideox_parts(words: int) -> JointParts:
    """The transformer and its text encoder for a vocabulary of `words` words, freshly initialised."""
    transformer = CogVideoXTransformer3DModel(
        num_attention_heads=HEADS,
        attention_head_dim=TEXT_WIDTH // HEADS,
        in_channels=CHANNELS,
        out_channels=CHANNELS,
        time_embed_dim=TIME_WIDTH,
        text_embed_dim=TEXT_WIDTH,
        num_layers=BLOCKS,
        sample_width=LATENT_SIDE,
        sample_height=LATENT_SIDE,
        sample_frames=FRAMES,
        patch_size=2,
        temporal_compression_ratio=1,
        max_text_seq_length=TEXT_TOKENS,
        use_rotary_positional_embeddings=True,
    )
    return JointParts(transformer, build_t5(words))
