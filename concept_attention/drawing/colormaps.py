"""Colours: continuous colour maps for heatmaps, distinct colours for concepts."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..errors import UserError

# Okabe and Ito's palette for colour-blind readers, without its black, which vanishes on dark images.
OKABE_ITO = ("#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7")

# Further colours: red, green and blue in sixteenths, one digit to base 17 each. Every colour is as far as possible from
# those before it in Oklab, in the worst of normal vision and three kinds of colour blindness (Machado, Oliveira and
# Fernandes, 2009), and is not close to black, grey or white. The viewer in the browser has the same 64 colours.
_FURTHER = """
520 9gf 01a 845 a7g bda 70f b40 536 dgb a58 6ee ab8 649 920 fc5 407 d0c 723 86e 89e 30d e80 dac 9f9
975 9a5 864 gcg 90b b69 a85 708 g8g 357 277 c51 a3g 78e bc8 759 6c5 d9a f68 b8g f0b bec ag8 350 cfc
7e7 9ca 833 eg0 424 c9d fbg
"""


def colorize(values: Tensor, colormap: str = "viridis", vmin: float = 0.0, vmax: float = 1.0) -> Tensor:
    """Draw a map in colour.

    Args:
        values: (H, W) float, finite, on any device.
        colormap: any name matplotlib knows; viridis is perceptually uniform and colour-blind-safe.
        vmin: value drawn in the map's first colour; anything below is drawn the same.
        vmax: value drawn in its last colour. With vmin == vmax everything is drawn in the first.

    Returns:
        (H, W, 3) float32, 0-1, on the values' device. The map has 256 levels.

    Raises:
        UserError: an unknown colour map.
        ValueError: another shape, values that are not finite, or vmin > vmax.

    >>> colorize(torch.tensor([[0.0, 0.5, 1.0]]), "gray")[0, :, 0].round(decimals=2).tolist()
    [0.0, 0.5, 1.0]
    >>> colorize(torch.rand(4, 6)).shape
    torch.Size([4, 6, 3])
    """
    import matplotlib  # slow to import, and only drawing needs it

    if values.ndim != 2:
        raise ValueError(f"Only one (height, width) map can be drawn in colour, got {tuple(values.shape)}.")
    values = values.detach().float()
    if not torch.isfinite(values).all():
        raise ValueError("A map to draw must hold finite numbers, got NaN or infinity.")
    if not vmin <= vmax:
        raise ValueError(f"vmin must not exceed vmax, got vmin {vmin:g} and vmax {vmax:g}.")
    check_colormap(colormap)
    known = matplotlib.colormaps[colormap]
    table = torch.from_numpy(known(np.arange(known.N))[:, :3].astype(np.float32)).to(values.device)
    scaled = (values - vmin).div_(vmax - vmin) if vmax > vmin else torch.zeros_like(values)
    levels = scaled.clamp_(0, 1).mul_(known.N).int().clamp_(max=known.N - 1)  # as matplotlib's own
    return table.index_select(0, levels.flatten()).reshape(*values.shape, 3)


def check_colormap(colormap: str) -> None:
    """Check that matplotlib knows a colour map; a UserError names some that it does."""
    import matplotlib

    if colormap not in matplotlib.colormaps:
        raise UserError(
            f"Unknown colour map {colormap!r}. Use viridis, cividis, magma, inferno, plasma, gray, turbo "
            "or another of matplotlib's."
        )


def concept_colors(count: int) -> Tensor:
    """Distinct colours for concepts, safe for colour-blind readers as far as colours can be.

    The first seven are Okabe and Ito's. The first colours never depend on `count`; after 64 they repeat.

    Args:
        count: how many, 0 or more.

    Returns:
        (count, 3) float32, 0-1.
    """
    known = [[int(code[i : i + 2], 16) / 255 for i in (1, 3, 5)] for code in OKABE_ITO]
    further = [[int(digit, 17) / 16 for digit in code] for code in _FURTHER.split()]
    table = torch.tensor(known + further, dtype=torch.float32)
    return table[torch.arange(count) % len(table)]
