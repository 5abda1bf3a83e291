"""The table of models in README, made from all tiny architectures: what each adapter says of its full-size model.

python -m tests.support.comfyui.architectures.matrix --write
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from ..boot import PROJECT, boot
from .usage import ONLY_THERE, USED, share_of

if TYPE_CHECKING:
    from concept_attention.hosts.architecture import Architecture

    from ..cross_attention.tiny_cross import TinyCross
    from .tiny_architecture import TinyArchitecture
    from .usage import Used

README = PROJECT / "README.md"
COMMAND = "python -m tests.support.comfyui.architectures.matrix --write"
BEGIN, END = f"<!-- Made by `{COMMAND}`. -->", "<!-- End of what was made. -->"
HEAD = (
    "| Model | Used | Makes | Reading | Layers used by default | Mode | diffusers |",
    "|---|---|---|---|---|---|---|",
)


class Known(NamedTuple):
    """What a tiny model cannot tell about the one users have.

    Attributes:
        sizes: entries of its configuration that say how many layers it has; of several models, one each.
        diffusers: class of its transformer there, if there is one.
        pipelines: class of the pipeline there of every model that the row names, where they have not all the same.
    """

    sizes: Sequence[Mapping[str, Any]]
    diffusers: str = ""
    pipelines: Mapping[str, str] = {}


# By the name of a tiny architecture. Nothing is known of one that is not here.
KNOWN: Mapping[str, Known] = {
    "Flux.1 dev, Krea, Kontext, Fill, Canny, Depth": Known(
        [{"depth": 19}],
        "FluxTransformer2DModel",
        {
            "dev": "FluxPipeline",
            "Krea": "FluxPipeline",
            "Kontext": "FluxKontextPipeline",
            "Fill": "FluxFillPipeline",
            "Canny": "FluxControlPipeline",
            "Depth": "FluxControlPipeline",
        },
    ),
    "Flux.1 schnell": Known([{"depth": 19}], "FluxTransformer2DModel"),
    "LongCat-Image": Known([{"depth": 10}], "LongCatImageTransformer2DModel"),
    "Ovis-Image": Known([{"depth": 6}], "OvisImageTransformer2DModel"),
    "Flux.2 dev": Known([{"depth": 8}], "Flux2Transformer2DModel"),
    "Flux.2 Klein": Known([{"depth": 5}, {"depth": 8}], "Flux2Transformer2DModel"),
    "Chroma": Known([{"depth": 19}], "ChromaTransformer2DModel"),
    "Chroma Radiance": Known([{"depth": 19}]),
    "HunyuanVideo": Known([{"depth": 20}], "HunyuanVideoTransformer3DModel"),
    "HunyuanVideo I2V": Known(
        [{"depth": 20}], "HunyuanVideoTransformer3DModel", {"I2V": "HunyuanVideoImageToVideoPipeline"}
    ),
    "HunyuanVideo 1.5": Known([{"depth": 54}], "HunyuanVideo15Transformer3DModel"),
    "HunyuanImage 2.1": Known([{"depth": 20}], "HunyuanImageTransformer2DModel"),
    "HunyuanImage 2.1 refiner": Known([{"depth": 20}]),
    "Stable Diffusion 3 medium": Known([{"depth": 24}], "SD3Transformer2DModel"),
    "Stable Diffusion 3.5 large, large turbo": Known([{"depth": 38}], "SD3Transformer2DModel"),
    "Stable Diffusion 3.5 medium": Known([{"depth": 24}], "SD3Transformer2DModel"),
    "AuraFlow": Known([{"n_double_layers": 4, "n_layers": 36}], "AuraFlowTransformer2DModel"),
    "HiDream-I1": Known([{"num_layers": 16}], "HiDreamImageTransformer2DModel"),
    "CogVideoX 5B": Known([{"num_layers": 42}], "CogVideoXTransformer3DModel"),
    "CogVideoX 2B": Known([{"num_layers": 30}], "CogVideoXTransformer3DModel"),
    "CogVideoX 1.5 5B": Known([{"num_layers": 42}], "CogVideoXTransformer3DModel"),
    "CogVideoX 5B I2V": Known([{"num_layers": 42}]),
    "Mochi 1": Known([{"depth": 48}], "MochiTransformer3DModel"),
    "Qwen-Image, Edit": Known(
        [{"num_layers": 60}],
        "QwenImageTransformer2DModel",
        {"Qwen-Image": "QwenImagePipeline", "Edit": "QwenImageEditPipeline"},
    ),
    "Qwen-Image Layered": Known(
        [{"num_layers": 60}], "QwenImageTransformer2DModel", {"Layered": "QwenImageLayeredPipeline"}
    ),
    "Mage-Flow": Known([{"num_layers": 12}]),
    "JoyImage, Edit": Known([{"num_layers": 20}], "JoyImageEditTransformer3DModel"),
    "Lens": Known([{"num_layers": 48}]),
    "PixelDiT": Known([{"patch_depth": 14}]),
    "PiD": Known([{"patch_depth": 14}]),
    "Boogu": Known([{"num_double_stream_layers": 8}]),
    "Lumina Image 2.0": Known([{"n_layers": 26}], "Lumina2Transformer2DModel"),
    "NewBie": Known([{"n_layers": 36}]),
    "Z-Image, Z-Image Turbo": Known([{"n_layers": 30}], "ZImageTransformer2DModel"),
    "Z-Image in pixel space": Known([{"n_layers": 30}]),
    "OmniGen 2": Known([{"num_layers": 32}]),
    "Krea 2": Known([{"layers": 28}], "Krea2Transformer2DModel"),
    "Ideogram 4": Known([{"num_layers": 34}], "Ideogram4Transformer2DModel"),
    "MiniMax-H3": Known([{"num_layers": 50}], "MiniMaxH3Transformer3DModel"),
    "Ernie-Image": Known([{"num_layers": 36}], "ErnieImageTransformer2DModel"),
    "Wan 2.1, 2.2, VACE, Fun, Animate, SCAIL": Known(
        [{"num_layers": 30}, {"num_layers": 40}],
        "WanTransformer3DModel",
        {"Wan 2.1": "WanPipeline", "2.2": "WanPipeline", "VACE": "WanVACEPipeline"},
    ),
    "LTX Video": Known([{"num_layers": 28}, {"num_layers": 48}], "LTXVideoTransformer3DModel"),
    "LTX-2": Known([{"num_layers": 48}], "LTX2VideoTransformer3DModel"),
    "LTX-2.3, LTX-2.5": Known(
        [{"num_layers": 48}], "LTX2VideoTransformer3DModel", {"LTX-2.3": "LTX2Pipeline", "LTX-2.5": ""}
    ),
    "Stable Diffusion 1 and 2": Known(
        [
            {
                "num_res_blocks": [2, 2, 2, 2],
                "channel_mult": (1, 2, 4, 4),
                "transformer_depth": [1, 1, 1, 1, 1, 1, 0, 0],
                "transformer_depth_output": [1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0],
            }
        ],
        "UNet2DConditionModel",
    ),
    "SDXL, Pony, Illustrious": Known(
        [
            {
                "num_res_blocks": [2, 2, 2],
                "channel_mult": (1, 2, 4),
                "transformer_depth": [0, 0, 2, 2, 10, 10],
                "transformer_depth_output": [0, 0, 0, 2, 2, 2, 10, 10, 10],
                "transformer_depth_middle": 10,
            }
        ],
        "UNet2DConditionModel",
    ),
    "Cosmos Predict2": Known(
        [{"num_blocks": 28}, {"num_blocks": 36}],
        "CosmosTransformer3DModel",
        {"Text2Image": "Cosmos2TextToImagePipeline", "Video2World": "Cosmos2VideoToWorldPipeline"},
    ),
    "Anima": Known([{"num_blocks": 28}]),
    "Kandinsky 5": Known([{"num_visual_blocks": 32}, {"num_visual_blocks": 60}], "Kandinsky5Transformer3DModel"),
    "HunyuanDiT": Known([{"depth": 40}], "HunyuanDiT2DModel"),
    "PixArt alpha, sigma": Known([{"depth": 28}], "PixArtTransformer2DModel"),
    "Cosmos 1": Known(
        [{"num_blocks": 28}, {"num_blocks": 36}],
        "CosmosTransformer3DModel",
        {"Text2World": "CosmosTextToWorldPipeline", "Video2World": "CosmosVideoToWorldPipeline"},
    ),
    "Qwen-Image 2.1": Known([{"num_layers": 32}], "QwenImage21Transformer2DModel"),
}


def matrix() -> str:
    """The table in Markdown; a row per model, the most used ones first, otherwise in the order of the registry.

    README's own row stays for a model that the ComfyUI at hand lacks, but for what is on diffusers.
    """
    kept = {cells[0]: cells for cells in cells_of_readme()}
    lines = [(share_of(row.name), line(row) if row.in_host else kept_line(kept[row.name])) for row in rows()]
    lines += [(used.share, newer_line(used)) for used in USED if used.diffusers]
    return "\n".join([*HEAD, *(text for _, text in sorted(lines, key=lambda one: -one[0]))])


def kept_line(cells: Sequence[str]) -> str:
    """README's row, with what the library does with the model on diffusers now."""
    return f"| {' | '.join(cells[:-1])} | {_on_diffusers(KNOWN[cells[0]])} |"


def cells_of_readme() -> list[list[str]]:
    """The cells of every row of README's table."""
    _, _, table = README.read_text(encoding="utf-8").partition(BEGIN)
    lines = table.partition(END)[0].strip().splitlines()[len(HEAD) :]
    return [[cell.strip() for cell in one.strip("|").split("|")] for one in lines]


def rows() -> list[TinyArchitecture | TinyCross]:
    """All tiny models, in the order of the registry."""
    from ..cross_attention.catalogue import VARIANTS
    from .catalogue import TINY_ARCHITECTURES

    return [*TINY_ARCHITECTURES, *VARIANTS]


def line(tiny: TinyArchitecture | TinyCross) -> str:
    """One row of the table; no weights are made for it."""
    from concept_attention.scores import resolve_mode

    known = KNOWN.get(tiny.name, Known([]))
    described = [_describe(tiny, sizes) for sizes in known.sizes or [{}]]
    layers = [_default_layers(one) for one in described] if known.sizes else ["?"]
    makes = "videos" if described[0].frames_per_latent else "images"
    mode = resolve_mode("auto", described[0].name, described[0].reading).name
    share = share_of(tiny.name)
    cells = (tiny.name, f"{share:g} %" if share else "", makes, described[0].reading, ", ".join(layers), mode)
    return f"| {' | '.join(cells)} | {_on_diffusers(known)} |"


def newer_line(used: Used) -> str:
    """The row of a model that is recorded on diffusers only."""
    from concept_attention.scores import resolve_mode

    described = on_diffusers(used.diffusers)
    mode, layers = resolve_mode("auto", described.name, described.reading).name, _default_layers(described)
    cells = (f"{used.model}, {ONLY_THERE}", f"{used.share:g} %", "images", described.reading, layers, mode)
    return f"| {' | '.join(cells)} | {_on_diffusers(Known([], used.diffusers))} |"


def on_diffusers(name: str) -> Architecture:
    """Sizes of a transformer of diffusers of that class, as its own defaults are: those of the released model."""
    import diffusers
    import torch

    from concept_attention.hosts.diffusers.adapters import described

    with torch.device("meta"):
        return described(getattr(diffusers, name)())


def _describe(tiny: TinyArchitecture | TinyCross, sizes: Mapping[str, Any]) -> Architecture:
    from concept_attention.hosts.comfyui.adapters.registry import adapter_for

    model = dataclasses.replace(tiny, config={**tiny.config, **sizes}).build(device="meta")
    return adapter_for(model).describe(model)


def _default_layers(model: Architecture) -> str:
    """Such as "15-18 of 19"; neighbours they are everywhere."""
    first, last = model.default_layers[0], model.default_layers[-1]
    assert model.default_layers == tuple(range(first, last + 1))
    return (
        f"all {model.layer_count}"
        if len(model.default_layers) == model.layer_count
        else (f"{first}-{last} of {model.layer_count}")
    )


def _on_diffusers(known: Known) -> str:
    """What the library does with these models on diffusers: "yes" for all, else by name; of some models only."""
    from concept_attention.hosts.diffusers.registry import PIPELINES, family_named

    adapter = _adapter_on_diffusers(known.diffusers)
    if adapter is None:
        return ""
    family = PIPELINES.get(type(adapter).__name__)
    if not known.pipelines:
        return "yes" if family is not None and family.pipelines else "record"
    run = [name for name, pipeline in known.pipelines.items() if family_named(pipeline)]
    return "yes" if len(run) == len(known.pipelines) else ", ".join(run) or "record"


def _adapter_on_diffusers(name: str) -> Any:
    """The adapter of that transformer of diffusers; None if there is none."""
    import diffusers

    from concept_attention.hosts.diffusers.adapters import ADAPTERS, CROSS_ADAPTERS

    if not name:
        return None
    found = getattr(diffusers, name)
    return next((one for one in (*ADAPTERS, *CROSS_ADAPTERS) if issubclass(found, one.transformer_class)), None)


def written(text: str, made: str) -> str:
    """A README with this table between its two marks."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{made}\n\n{END}{after}"


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog=COMMAND, description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--write", action="store_true", help="write it into README.md instead of printing it")
    options = parser.parse_args(argv)
    boot()
    made = matrix()
    if options.write:
        README.write_text(written(README.read_text(encoding="utf-8"), made), encoding="utf-8", newline="\n")
    else:
        print(made)
    return 0


if __name__ == "__main__":
    sys.exit(main())
