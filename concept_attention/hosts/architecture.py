"""What a host's adapter tells about a model: the sizes the rest of the library needs, read from the live model."""

from __future__ import annotations

from dataclasses import dataclass

AUTHORS_FLUX_LAYERS = 4 / 19  # share of the joint blocks: layers 15-18 of Flux 1's 19
AUTHORS_FLUX2_LAYERS = 3 / 8  # layers 5-7 of Flux 2's 8
AUTHORS_COGVIDEOX_LAYERS = 30 / 42  # the first 30 of CogVideoX-5B's 42


@dataclass(frozen=True)
class Architecture:
    """Sizes of one joint-attention model.

    Attributes:
        name: family, also the key of the family's fidelity mode ("flux", "sd3", ...).
        joint_blocks: number of joint (double-stream) blocks.
        heads: attention heads of a joint block.
        head_dim: width of one head.
        text_width: width of the text encoder's embeddings the model takes in.
        patch: latent cells per token along height and width.
        default_layers: joint blocks that `auto` stands for.
        frame_patch: latent frames per token.
        frames_per_latent: picture frames that a latent frame of a video stands for, but for the first, which stands
            for one; 0 in models of pictures, even if their latents have a time axis.
        concept_position: number of the text token whose position embedding every concept takes, in models that rotate
            text tokens by their place in the prompt.
        pooled_text: whether concepts are modulated by the prompt's pooled text, where the model has one; if not, a
            picture that exists already is looked at without it as well.
    """

    name: str
    joint_blocks: int
    heads: int
    head_dim: int
    text_width: int
    patch: int
    default_layers: tuple[int, ...]
    frame_patch: int = 1
    frames_per_latent: int = 0
    concept_position: int = 0
    pooled_text: bool = True


@dataclass(frozen=True)
class TokenSlices:
    """Where the streams lie in a joint block's token sequence.

    Attributes:
        text: the prompt's tokens.
        image: all image tokens.
        picture: those of the picture being made, where `image` may hold those of reference pictures as well; None if
            they are the same.
    """

    text: slice
    image: slice
    picture: slice | None = None

    @classmethod
    def text_first(cls, image: int, keys: int, picture: int) -> TokenSlices:
        """Of `keys` tokens the last `image` ones are the image's, and the picture's come first among these."""
        start = keys - image
        return cls(slice(0, start), slice(start, keys), slice(start, start + picture))

    @classmethod
    def image_first(cls, image: int, keys: int, picture: int) -> TokenSlices:
        """Of `keys` tokens the first `image` ones are the image's, and the picture's come first among these."""
        return cls(slice(image, keys), slice(0, image), slice(0, picture))


def last_layers(joint_blocks: int, share: float) -> tuple[int, ...]:
    """The last `share` (0-1) of the joint blocks, at least two of them where the model has two."""
    count = min(joint_blocks, max(2, round(joint_blocks * share)))
    return tuple(range(joint_blocks - count, joint_blocks))


def first_layers(joint_blocks: int, share: float) -> tuple[int, ...]:
    """The first `share` (0-1) of the joint blocks, at least one."""
    return tuple(range(max(1, round(joint_blocks * share))))


def frame_counts(latent_frames: int, frame_patch: int, frames_per_latent: int) -> tuple[int, ...]:
    """Picture frames that each token along the time axis of a video stands for.

    Args:
        latent_frames: of the video; the last token may cover fewer than `frame_patch` of them.
        frame_patch, frames_per_latent: as of `Architecture`.

    Convention: a causal video VAE makes one latent frame of the first picture frame and one of every
    `frames_per_latent` further ones: (T - 1) * frames_per_latent + 1 picture frames are T latent frames.
    """
    each = [1, *[frames_per_latent] * (latent_frames - 1)]
    return tuple(sum(each[first : first + frame_patch]) for first in range(0, latent_frames, frame_patch))


def last_read_layers(joint_blocks: int, share: float) -> tuple[int, ...]:
    """As `last_layers`, for a model that has no use for its text after the last joint block.

    What that block's text rows attend to never reaches the picture, so training has left their queries as they were;
    they are the concepts' queries, and would look at random tokens.
    """
    return last_layers(max(1, joint_blocks - 1), share)
