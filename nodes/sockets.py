"""Socket types of this pack, and the inputs that several nodes share."""

from __future__ import annotations

from comfy_api.latest import io

from ..concept_attention.choices import KEEPS, METHODS, MODE_NAMES

CA_CONCEPTS = io.Custom("CA_CONCEPTS")  # hosts.encoded.EncodedConcepts
CA_RECORDING = io.Custom("CA_RECORDING")  # recording.Recording
CA_HEATMAPS = io.Custom("CA_HEATMAPS")  # heatmaps.Heatmaps

LARGEST_SEED = 2**64 - 1

SAMPLING = "ConceptAttention/sampling"
HEATMAPS = "ConceptAttention/heatmaps"
RECORDINGS = "ConceptAttention/recordings"
LOADERS = "ConceptAttention/loaders"

COLORMAPS = ["viridis", "cividis", "magma", "inferno", "plasma", "gray", "turbo"]  # matplotlib's; the first two are
# safe for colour-blind eyes


def concepts_input() -> io.Input:
    return CA_CONCEPTS.Input("concepts", tooltip="What to look for: the output of Encode Concepts.")


def layers_input() -> io.Input:
    return io.String.Input(
        "layers",
        default="all",
        optional=True,
        advanced=True,
        tooltip="Joint blocks to record, counted from 0: all, auto (what suits the architecture), 15-18, or 3,7,9-11. "
        "Recording all of them costs little, and heatmaps can then be made from any.",
    )


def range_inputs() -> list[io.Input]:
    """Which part of the sampling is recorded."""
    return [
        io.Float.Input(
            "start_percent",
            default=0.0,
            min=0.0,
            max=1.0,
            step=0.001,
            optional=True,
            advanced=True,
            tooltip="Where in the steps recording begins, 0 being the first step. Nothing is computed before it.",
        ),
        io.Float.Input(
            "end_percent",
            default=1.0,
            min=0.0,
            max=1.0,
            step=0.001,
            optional=True,
            advanced=True,
            tooltip="Where in the steps recording ends, 1 being the last step. Nothing is computed after it.",
        ),
    ]


def recording_mode_input() -> io.Input:
    return io.Combo.Input(
        "mode",
        options=list(MODE_NAMES),
        default="auto",
        optional=True,
        advanced=True,
        tooltip="Whose rule scores the concepts. auto takes the architecture's own, and most others can still be "
        "chosen when heatmaps are made; only paper and cogvideox need their own recording.",
    )


def live_preview_input() -> io.Input:
    return io.String.Input(
        "live_preview",
        display_name="live preview",
        default="",
        optional=True,
        advanced=True,
        tooltip="What the preview shows while the model runs: the name of a concept, or segmentation. It is drawn over "
        "ComfyUI's own preview, or alone where that is turned off, and changes no result. Empty shows neither.",
    )


def keep_input() -> io.Input:
    return io.Combo.Input(
        "keep",
        options=list(KEEPS),
        default="every step",
        optional=True,
        advanced=True,
        tooltip="every step: the scores of each recorded step, to make any heatmaps from. running mean: one map per "
        "layer however many steps there are, which is what videos need; steps, mode and temperature can then no longer "
        "be chosen.",
    )


def reading_inputs() -> list[io.Input]:
    """Which layers and steps of a recording heatmaps are made of."""
    return [
        io.String.Input(
            "layers",
            default="auto",
            optional=True,
            tooltip="Joint blocks to use: auto (what suits the architecture), all that were recorded, 15-18, "
            "or 3,7,9-11. The first is 0.",
        ),
        io.String.Input(
            "steps",
            default="all",
            optional=True,
            tooltip="Recorded steps to use: all, 3-7, or 0,2. The first is 0, and -1 is the last.",
        ),
    ]


def reading_mode_input() -> io.Input:
    return io.Combo.Input(
        "mode",
        options=list(MODE_NAMES),
        default="auto",
        optional=True,
        advanced=True,
        tooltip="Whose rule turns scores into shares. auto is the one the recording was made for.",
    )


def temperature_input() -> io.Input:
    return io.Float.Input(
        "temperature",
        default=0.0,
        min=0.0,
        max=1e9,
        step=0.1,
        optional=True,
        advanced=True,
        tooltip="Divides the scores before concepts compete: higher makes shares more even, lower more decided. "
        "0 takes the mode's own.",
    )


def colormap_input() -> io.Input:
    return io.Combo.Input(
        "colormap",
        options=COLORMAPS,
        default="viridis",
        optional=True,
        tooltip="Colours of low and high values. viridis and cividis suit colour-blind eyes and print well in grey.",
    )


def mask_inputs() -> list[io.Input]:
    """How a concept's heatmap becomes its mask."""
    return [
        io.Combo.Input(
            "method",
            options=list(METHODS),
            default="soft",
            optional=True,
            tooltip="soft: the share itself. threshold: share above the threshold. argmax: where it beats every other "
            "concept. mean, otsu, percentile: above a level found in the map itself, which finds something even if "
            "the concept is absent.",
        ),
        io.Float.Input(
            "threshold",
            default=0.5,
            min=0.0,
            max=1.0,
            step=0.01,
            optional=True,
            tooltip="Share to exceed. For method threshold.",
        ),
        io.Float.Input(
            "percentile",
            default=90.0,
            min=0.0,
            max=100.0,
            step=0.5,
            optional=True,
            tooltip="Level to reach: 90 keeps the highest tenth. For method percentile.",
        ),
    ]
