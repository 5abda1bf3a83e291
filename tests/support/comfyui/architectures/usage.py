"""How much of what people run in ComfyUI can be recorded, there or on diffusers, and by which reading.

python -m tests.support.comfyui.architectures.usage

Shares are those of the uses that ComfyUI's own template index counts for open models (27 October 2026, 159,833 uses).
What a use is, the index does not say, and new templates are counted more than their share. Models below 0.2 % are left
out together.
"""

from __future__ import annotations

import sys
from typing import NamedTuple


class Used(NamedTuple):
    """A model, as the template index names it.

    Attributes:
        model: its name.
        share: of all uses, in percent.
        rows: the tests' tiny models that stand for it, by name; () if it cannot be recorded in ComfyUI.
        why: what keeps it from being recorded there.
        diffusers: class of its transformer in diffusers, if it can be recorded only there.
    """

    model: str
    share: float
    rows: tuple[str, ...] = ()
    why: str = ""
    diffusers: str = ""


ONLY_THERE = "on diffusers only"
NO_SOURCE = "came after the ComfyUI that is tested with"
USED = (
    Used("MiniMax-H3", 24.3, ("MiniMax-H3",)),
    Used("LTX", 16.7, ("LTX Video", "LTX-2", "LTX-2.3, LTX-2.5")),
    Used("Qwen-Image 2.1", 15.5, ("Qwen-Image 2.1",)),
    Used("Wan", 10.2, ("Wan 2.1, 2.2, VACE, Fun, Animate, SCAIL",)),
    Used("Z-Image", 10.1, ("Z-Image, Z-Image Turbo", "Z-Image in pixel space")),
    Used("Krea 2", 6.6, ("Krea 2",)),
    Used("Qwen-Image", 5.0, ("Qwen-Image, Edit", "Qwen-Image Layered")),
    Used("Flux.2", 3.1, ("Flux.2 dev", "Flux.2 Klein")),
    Used("Flux.3 Klein", 2.1, (), NO_SOURCE, "Flux3Transformer2DModel"),
    Used("Mage-Flow", 1.5, ("Mage-Flow",)),
    Used("Flux.1", 1.3, ("Flux.1 dev, Krea, Kontext, Fill, Canny, Depth", "Flux.1 schnell")),
    Used("MOSS-Image", 0.7, (), NO_SOURCE),
    Used("Anima", 0.5, ("Anima",)),
    Used("Stable Diffusion 1, SDXL", 0.5, ("Stable Diffusion 1 and 2", "SDXL, Pony, Illustrious")),
    Used(
        "Stable Diffusion 3",
        0.1,
        (
            "Stable Diffusion 3 medium",
            "Stable Diffusion 3.5 large, large turbo",
            "Stable Diffusion 3.5 medium",
        ),
    ),
)


def share_of(row: str) -> float:
    """Percent of all uses that the model of a tiny model has, with all its variants; 0 if it is not counted."""
    return next((used.share for used in USED if row in used.rows), 0.0)


def recorded(anywhere: bool = False) -> float:
    """Percent of all uses whose model can be recorded: in ComfyUI, or `anywhere`, which is there or on diffusers."""
    return sum(used.share for used in USED if used.rows or (anywhere and used.diffusers))


def main() -> int:
    from .matrix import cells_of_readme

    readings = {cells[0]: cells[3] for cells in cells_of_readme()}
    totals: dict[str, float] = {}
    for used in USED:
        reading = ", ".join(sorted({readings[name] for name in used.rows}))
        if used.diffusers:
            reading = f"{readings[f'{used.model}, {ONLY_THERE}']}, {ONLY_THERE}"
        totals[reading or "not recorded"] = totals.get(reading or "not recorded", 0) + used.share
        print(f"{used.model:26}{used.share:5.1f} %  {reading or f'not recorded: {used.why}'}")
    print()
    for reading, share in totals.items():
        print(f"{reading:30}{share:5.1f} %")
    print(f"{'recorded in ComfyUI':30}{recorded():5.1f} %")
    print(f"{'in ComfyUI or on diffusers':30}{recorded(anywhere=True):5.1f} %")
    return 0


if __name__ == "__main__":
    sys.exit(main())
