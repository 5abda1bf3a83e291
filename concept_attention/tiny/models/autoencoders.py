"""The landscape models' autoencoders: small standard ones whose encoders compute exactly the linear codec.

Three convolutions of stride 2 gather 2x2 positions each, the third one with the codec's projection; everything else in
an encoder is the identity. Only the decoders are trained.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from diffusers import AutoencoderKLCogVideoX, AutoencoderTiny
from torch import Tensor, nn

from .codec import CHANNELS, PATCH, LinearCodec

GATHERED = 48  # channels that 4x4 pixels are gathered in
# The video encoder ends with a normalisation over all channels and SiLU. Both are made linear: two constant channels,
# DOMINANT and -DOMINANT, outweigh all others, so that the normalisation hardly depends on the image; the rest is
# shifted by OFFSET to where SiLU(x) is x; and a channel that is 0 is subtracted at the end, with offset and mean.
DOMINANT = 1000.0
OFFSET = 32.0
VIDEO_CHANNELS = (16, GATHERED, GATHERED, 32)
NO_VARIANCE = -30.0  # its logarithm


def linear_vae(codec: LinearCodec) -> AutoencoderTiny:
    """An autoencoder in TAESD's layout, without residual blocks in the encoder."""
    vae = AutoencoderTiny(
        latent_channels=CHANNELS,
        encoder_block_out_channels=(GATHERED,) * 4,
        num_encoder_blocks=(0,) * 4,
        decoder_block_out_channels=(32,) * 4,
        num_decoder_blocks=(3, 3, 2, 1),
        scaling_factor=1.0,
        shift_factor=0.0,
    )
    set_linear_encoder(vae, codec)
    return vae


@torch.no_grad()
def set_linear_encoder(vae: AutoencoderTiny, codec: LinearCodec) -> None:
    """Write the codec into the encoder. Its convolutions see inputs 2i-1, 2i, 2i+1 at output i: taps 1 and 2 count."""
    first, *halving, last = vae.encoder.layers
    _zero_parameters(vae.encoder)
    for channel in range(3):
        first.weight[channel, channel, 1, 1] = 1
    # The encoder sees pixels in 0-1, the codec in -1 to 1.
    _set_gathering([one.weight for one in halving], 1, 2 * _projection(codec))
    for channel in range(CHANNELS):
        last.weight[channel, channel, 1, 1] = 1
    last.bias.copy_(-(torch.from_numpy(codec.mean) + 1) @ _projection(codec))


def linear_video_vae(codec: LinearCodec) -> AutoencoderKLCogVideoX:
    """An autoencoder in CogVideoX's layout, except that every frame has a latent frame of its own.

    So its latents are the codec's, to 1e-4 in float32, and each latent frame belongs to one label map.
    """
    vae = AutoencoderKLCogVideoX(
        latent_channels=CHANNELS,
        block_out_channels=VIDEO_CHANNELS,
        layers_per_block=1,
        norm_num_groups=1,
        temporal_compression_ratio=1,
        sample_height=128,
        sample_width=128,
        scaling_factor=1.0,
    )
    _set_linear_video_encoder(vae, codec)
    for module in vae.decoder.modules():
        if isinstance(module, nn.Conv3d) and module.kernel_size[0] > 1:
            _ignore_earlier_frames(module)
    return vae


@torch.no_grad()
def _set_linear_video_encoder(vae: AutoencoderKLCogVideoX, codec: LinearCodec) -> None:
    """Write the codec into the encoder.

    Along time only the last tap, the frame itself, counts. The halving convolutions see inputs 2i, 2i+1, 2i+2 at output
    i: taps 0 and 1 count. The second convolution of every residual block is zero, so it adds nothing.
    """
    encoder, mean = vae.encoder, torch.from_numpy(codec.mean)
    _zero_parameters(encoder)
    for channel in range(3):
        encoder.conv_in.conv.weight[channel, channel, -1, 1, 1] = 1
    for block in encoder.down_blocks:
        for resnet in block.resnets:
            if resnet.in_channels != resnet.out_channels:
                width = min(resnet.in_channels, resnet.out_channels)
                resnet.conv_shortcut.weight[:width, :width, 0, 0, 0] = torch.eye(width)
    *halving, third = (block.downsamplers[0].conv for block in encoder.down_blocks[:3])
    _set_gathering([*(one.weight for one in halving), third.weight], 0, _projection(codec))
    third.bias[:CHANNELS] = -mean @ _projection(codec)
    zero = CHANNELS + 2  # the channel after the two dominant ones
    third.bias[CHANNELS:zero] = torch.tensor([DOMINANT, -DOMINANT])
    encoder.norm_out.weight[: zero + 1] = DOMINANT * (2 / VIDEO_CHANNELS[-1]) ** 0.5
    encoder.norm_out.bias[: zero + 1] = OFFSET
    for channel in range(CHANNELS):
        encoder.conv_out.conv.weight[channel, channel, -1, 1, 1] = 1
        encoder.conv_out.conv.weight[channel, zero, -1, 1, 1] = -1
    encoder.conv_out.conv.bias[CHANNELS:] = NO_VARIANCE


def _ignore_earlier_frames(convolution: nn.Conv3d) -> None:
    """Make a causal convolution ignore earlier frames, also after training: it is trained on still images."""
    seen = torch.zeros(convolution.kernel_size[0])[:, None, None]
    seen[-1] = 1
    with torch.no_grad():
        convolution.weight.mul_(seen)
    convolution.weight.register_hook(lambda gradient: gradient * seen.to(gradient))


def _projection(codec: LinearCodec) -> Tensor:
    """Matrix (192, CHANNELS) that a patch of 8 * 8 * 3 values is multiplied by."""
    return torch.from_numpy(codec.basis * codec.scale)


def _zero_parameters(module: nn.Module) -> None:
    for parameter in module.parameters():
        parameter.zero_()


def _set_gathering(weights: Sequence[Tensor], tap: int, projection: Tensor) -> None:
    """Set three convolutions (out, in, 3, 3) of stride 2 so that they gather 8x8 pixels and project them.

    Args:
        weights: of the convolutions, in order.
        tap: index of the first of the two taps per side that read the output's own inputs.
        projection: (192, CHANNELS).
    """
    order = [(0, 0, c) for c in range(3)]  # of each channel: row and column inside the patch, colour
    for size, weight in zip((1, 2), weights, strict=False):
        gathered: list[tuple[int, int, int]] = []
        for dy in range(2):
            for dx in range(2):
                for source, (row, column, color) in enumerate(order):
                    weight[len(gathered), source, tap + dy, tap + dx] = 1
                    gathered.append((row + dy * size, column + dx * size, color))
        order = gathered
    by_pixel = projection.reshape(PATCH, PATCH, 3, CHANNELS)
    for dy in range(2):
        for dx in range(2):
            for source, (row, column, color) in enumerate(order):
                weights[2][:CHANNELS, source, tap + dy, tap + dx] = by_pixel[row + 4 * dy, column + 4 * dx, color]
