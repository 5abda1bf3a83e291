"""Conversion of the landscape model's autoencoder to the size of TAESD, which ComfyUI's VAE loads.

Both have the same layout: convolutions followed by residual blocks. Ours has fewer channels and blocks. An additional
channel of zeros changes nothing. A block whose convolutions are zero passes on what is not negative. So where a
convolution without a block gets one, positive and negative parts go through it in channels of their own. Everything is
exact.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

WIDTH = 64  # channels of TAESD's layers
# Each convolution of TAESD and the residual blocks after it, as positions in `taesd_encoder` and `taesd_decoder`.
ENCODER = ((0, (1,)), (2, (3, 4, 5)), (6, (7, 8, 9)), (10, (11, 12, 13)), (14, ()))
DECODER = ((1, (3, 4, 5)), (7, (8, 9, 10)), (12, (13, 14, 15)), (17, (18,)), (19, ()))
BLOCK = ("conv.0", "conv.2", "conv.4")

Weights = dict[str, Tensor]
Stage = tuple[Weights, list[Weights]]  # a convolution and the blocks after it, each as parameters by name


def taesd_weights(own: Mapping[str, Tensor], scale: float, shift: float) -> Weights:
    """The state dict of ComfyUI's TAESD that encodes and decodes as a small AutoencoderTiny does.

    Args:
        own: state dict of diffusers' AutoencoderTiny.
        scale, shift: of ComfyUI's latents: the decoder reads (latent - shift) * scale, the encoder gives the reverse.

    Raises:
        ValueError: if it is wider or deeper than TAESD.
    """
    weights = {"vae_scale": torch.tensor(scale), "vae_shift": torch.tensor(shift)}
    for part, layout in (("encoder", ENCODER), ("decoder", DECODER)):
        stages = _stages(own, f"{part}.layers.")
        depths, most = [len(blocks) for _, blocks in stages], [len(places) for _, places in layout]
        if len(depths) != len(most) or any(depth > limit for depth, limit in zip(depths, most, strict=True)):
            raise ValueError(f"The {part} has blocks {depths}, expected at most TAESD's {most}. Train it with fewer.")
        for index, (convolution, blocks) in enumerate(stages):
            if most[index] and not blocks and not _never_negative(convolution):
                _split_signs(convolution, stages[index + 1][0])
        weights.update(_placed(stages, layout, f"taesd_{part}."))
    return weights


def _stages(own: Mapping[str, Tensor], prefix: str) -> list[Stage]:
    """The layers below `prefix` in order, float32, each with its own parameter names."""
    layers: dict[int, Weights] = {}
    for name, tensor in own.items():
        if name.startswith(prefix):
            index, _, parameter = name.removeprefix(prefix).partition(".")
            layers.setdefault(int(index), {})[parameter] = tensor.float()
    stages: list[Stage] = []
    for _, layer in sorted(layers.items()):
        if "weight" in layer:
            stages.append((layer, []))
        else:
            stages[-1][1].append(layer)
    return stages


def _never_negative(convolution: Weights) -> bool:
    """Whether inputs that are not negative give outputs that are not negative."""
    return all(bool((tensor >= 0).all()) for tensor in convolution.values())


def _split_signs(convolution: Weights, following: Weights) -> None:
    """Let both signs of what the following convolution reads pass a ReLU, in separate channels."""
    read = following["weight"].abs().sum((0, 2, 3)) > 0
    for name, tensor in convolution.items():
        convolution[name] = torch.cat([tensor[read], -tensor[read]])
    kept = following["weight"][:, read]
    following["weight"] = torch.cat([kept, -kept], dim=1)


def _placed(stages: Sequence[Stage], layout: Sequence[tuple[int, Sequence[int]]], prefix: str) -> Weights:
    """All stages with TAESD's names and widths, missing blocks as zeros."""
    placed: Weights = {}
    last = len(stages) - 1
    for stage, ((convolution, blocks), (place, block_places)) in enumerate(zip(stages, layout, strict=True)):
        for name, tensor in convolution.items():
            placed[f"{prefix}{place}.{name}"] = _widened(tensor, first=stage == 0, last=stage == last)
        for number, block_place in enumerate(block_places):
            for layer in BLOCK:
                for name, shape in (("weight", (WIDTH, WIDTH, 3, 3)), ("bias", (WIDTH,))):
                    tensor = blocks[number][f"{layer}.{name}"] if number < len(blocks) else torch.zeros(shape)
                    placed[f"{prefix}{block_place}.{layer}.{name}"] = _widened(tensor)
    return placed


def _widened(tensor: Tensor, first: bool = False, last: bool = False) -> Tensor:
    """A weight or bias with zeros for missing channels; the first and last layers keep their outer channels."""
    shape = list(tensor.shape)
    if not last:
        shape[0] = WIDTH
    if not first and tensor.ndim > 1:
        shape[1] = WIDTH
    if any(own > wide for own, wide in zip(tensor.shape, shape, strict=True)):
        raise ValueError(f"A layer of {tuple(tensor.shape)} is wider than TAESD's {WIDTH} channels. Train it narrower.")
    wide = torch.zeros(shape)
    wide[tuple(slice(size) for size in tensor.shape)] = tensor
    return wide
