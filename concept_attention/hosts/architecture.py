"""Sizes of a model, read from the live model by a host's adapter."""

from __future__ import annotations

from dataclasses import dataclass

from ..choices import Reading
from ..errors import UserError

AUTHORS_FLUX_LAYERS = 4 / 19  # share of the joint blocks: layers 15-18 of Flux 1's 19
AUTHORS_FLUX2_LAYERS = 3 / 8  # layers 5-7 of Flux 2's 8
AUTHORS_COGVIDEOX_LAYERS = 30 / 42  # the first 30 of CogVideoX-5B's 42
AUTHORS_COGVIDEOX_TOKENS = 226  # that its text always has


@dataclass(frozen=True)
class Architecture:
    """Sizes of one model.

    A joint block is a block in which text and image tokens attend to each other in one attention call: Flux's
    double-stream block, SD3's MM-DiT block. In models without, a layer is a block with cross-attention.

    Attributes:
        name: family, also the key of the family's fidelity mode ("flux", "sd3", ...).
        layer_count: number of layers: joint blocks, or blocks with cross-attention.
        text_width: width of the text encoder's embeddings that the model takes.
        patch: latent pixels per token along height and width.
        default_layers: layers that `auto` stands for.
        frame_patch: latent frames per token.
        frames_per_latent: video frames per latent frame, except the first, which stands for one; 0 in image models,
            even if their latents have a time axis.
        frame_pattern: video frames per latent frame, over and over, where not only the first one differs.
        concept_position: index of the text token whose position embedding every concept takes, in models that rotate
            text tokens by their position in the prompt.
        pooled_text: whether concepts are modulated by the prompt's pooled text, where the model has one; if not, an
            existing image is analysed without it as well.
        latent_channels: of the image's latent, in models whose latents always have another part for sound; 0 elsewhere,
            where the host knows.
        reading: the reading that the model is made for, see `choices.Reading`: `cross` if it has no joint blocks.
        largest_side: most tokens along height or width that there are positions for; 0 is no limit.
        padded_tokens: length to which padding tokens fill the concepts up, which attend to them; 0 is no padding.
    """

    name: str
    layer_count: int
    text_width: int
    patch: int
    default_layers: tuple[int, ...]
    frame_patch: int = 1
    frames_per_latent: int = 0
    frame_pattern: tuple[int, ...] = ()
    concept_position: int = 0
    pooled_text: bool = True
    padded_tokens: int = 0
    largest_side: int = 0
    latent_channels: int = 0
    reading: Reading = "concept"

    def check_grid(self, rows: int, columns: int, token_pixels: int) -> None:
        """Check that there are positions for so many tokens of so many pixels.

        Raises:
            UserError: if there are not.
        """
        if self.largest_side and max(rows, columns) > self.largest_side:
            most = self.largest_side * token_pixels
            raise UserError(
                f"This model has positions for images of up to {most} x {most} pixels, got "
                f"{columns * token_pixels} x {rows * token_pixels} (width x height). Choose a smaller size."
            )


@dataclass(frozen=True)
class TokenSlices:
    """Slices of a joint block's token sequence.

    Attributes:
        image: all image tokens.
        target: tokens of the generated image, where `image` may also hold those of reference images; None if they are
            the same.
    """

    image: slice
    target: slice | None = None

    @classmethod
    def text_first(cls, image: int, keys: int, target: int) -> TokenSlices:
        """The last `image` of `keys` tokens are image tokens; the first `target` of these are the generated image's."""
        start = keys - image
        return cls(slice(start, keys), slice(start, start + target))

    @classmethod
    def image_first(cls, image: int, target: int) -> TokenSlices:
        """The first `image` tokens are image tokens; the first `target` of these are the generated image's."""
        return cls(slice(0, image), slice(0, target))


def last_layers(layer_count: int, share: float) -> tuple[int, ...]:
    """The last `share` (0-1) of the joint blocks, at least two of them where the model has two."""
    count = min(layer_count, max(2, round(layer_count * share)))
    return tuple(range(layer_count - count, layer_count))


def first_layers(layer_count: int, share: float) -> tuple[int, ...]:
    """The first `share` (0-1) of the joint blocks, at least one."""
    return tuple(range(max(1, round(layer_count * share))))


def middle_layers(count: int, share: float) -> tuple[int, ...]:
    """The `share` (0-1) of the layers around the middle one, at least one."""
    chosen = max(1, round(count * share))
    first = (count - chosen) // 2
    return tuple(range(first, first + chosen))


def last_read_layers(layer_count: int, share: float) -> tuple[int, ...]:
    """`last_layers` without the last joint block, for a model that drops its text after that block.

    The text output of that block never reaches the image, so training has left its text queries as they were. Concepts
    share those queries and would attend to random tokens.
    """
    return last_layers(max(1, layer_count - 1), share)


def frame_counts(
    latent_frames: int, frame_patch: int, frames_per_latent: int, pattern: tuple[int, ...] = ()
) -> tuple[int, ...]:
    """Number of video frames per token along the time axis.

    Args:
        latent_frames: of the video; the last token may cover fewer than `frame_patch` of them.
        frame_patch, frames_per_latent: see `Architecture`.
        pattern: its `frame_pattern`.

    Convention: a causal video VAE makes one latent frame of the first video frame and one of every
    `frames_per_latent` further ones: (T - 1) * frames_per_latent + 1 video frames are T latent frames.
    """
    pattern = pattern or (1, *[frames_per_latent] * (latent_frames - 1))
    each = [pattern[frame % len(pattern)] for frame in range(latent_frames)]
    return tuple(sum(each[first : first + frame_patch]) for first in range(0, latent_frames, frame_patch))
