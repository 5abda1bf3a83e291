"""Socket types of this pack, and inputs that several nodes share."""

from __future__ import annotations

from comfy_api.latest import io

from ..concept_attention.choices import KEEPS, METHODS, MODE_NAMES
from ..concept_attention.heatmaps.presence import THRESHOLD

CA_CONCEPTS = io.Custom("CA_CONCEPTS")  # concept_attention.hosts.encoded.EncodedConcepts
CA_RECORDING = io.Custom("CA_RECORDING")  # concept_attention.recording.recording.Recording
CA_HEATMAPS = io.Custom("CA_HEATMAPS")  # concept_attention.heatmaps.heatmaps.Heatmaps

LARGEST_SEED = 2**64 - 1

SAMPLING = "ConceptAttention/sampling"
HEATMAPS = "ConceptAttention/heatmaps"
RECORDINGS = "ConceptAttention/recordings"
REGIONS = "ConceptAttention/regions"
LOADERS = "ConceptAttention/loaders"

COLORMAPS = ["viridis", "cividis", "magma", "inferno", "plasma", "gray", "turbo"]  # of matplotlib; the first two
# are safe for colour-blind readers


def concepts_input(optional: bool = False) -> io.Input:
    """`optional` where the concepts can also be written, see `words_inputs`."""
    tooltip = "The concepts to look for, from Encode Concepts."
    if optional:
        tooltip += " Leave it empty to write them in words."
    return CA_CONCEPTS.Input("concepts", optional=optional, tooltip=tooltip)


def words_inputs() -> list[io.Input]:
    """The concepts as words with their text encoder, in place of encoded concepts."""
    return [
        io.Clip.Input(
            "clip",
            optional=True,
            tooltip="The text encoder that reads the words. Only needed if no encoded concepts are connected.",
        ),
        io.String.Input(
            "words",
            multiline=True,
            default="",
            optional=True,
            placeholder="what to look for, such as: house, tree",
            tooltip="What to look for, separated by commas or one per line, in the syntax of Encode Concepts. Leave it "
            "empty if encoded concepts are connected.",
        ),
        io.String.Input(
            "background",
            multiline=True,
            default="",
            optional=True,
            placeholder="what else is there, such as: sky, grass",
            tooltip="What else is in the image, in the same syntax. Heatmaps become sharper when everything in the "
            "image has a name.",
        ),
    ]


def layers_input() -> io.Input:
    return io.String.Input(
        "layers",
        default="all",
        optional=True,
        advanced=True,
        tooltip="Layers to record, counted from 0: all, auto (the default for the architecture), 15-18, or 3,7,9-11. "
        "They are joint blocks, or blocks with cross-attention in models without. Recording all of them costs little, "
        "and you can then make heatmaps from any of them.",
    )


def range_inputs() -> list[io.Input]:
    """The part of the sampling steps that is recorded."""
    return [
        io.Float.Input(
            "start_percent",
            default=0.0,
            min=0.0,
            max=1.0,
            step=0.001,
            optional=True,
            advanced=True,
            tooltip="Where recording starts: 0 is the first step. Earlier steps have no overhead.",
        ),
        io.Float.Input(
            "end_percent",
            default=1.0,
            min=0.0,
            max=1.0,
            step=0.001,
            optional=True,
            advanced=True,
            tooltip="Where recording ends: 1 is the last step. Later steps have no overhead.",
        ),
    ]


def recording_mode_input() -> io.Input:
    return io.Combo.Input(
        "mode",
        options=list(MODE_NAMES),
        default="auto",
        optional=True,
        advanced=True,
        tooltip="Which scoring rule to use. auto: the rule for this architecture. You can still switch between flux, "
        "flux2 and sd3 in Concept Heatmaps; paper must be set here, and cogvideox for models other than CogVideoX. "
        "cross and gram work with every model: cross is how much of the text's attention a concept would get, gram how "
        "similar the image is to where the concept fits best. Models with cross-attention only have just these two.",
    )


def live_preview_input() -> io.Input:
    return io.String.Input(
        "live_preview",
        display_name="live preview",
        default="",
        optional=True,
        advanced=True,
        tooltip="What to show while the model runs: the name of a concept, segmentation, or regions (where second "
        "prompts act). It is drawn over ComfyUI's own preview, or alone if previews are off. It does not change the "
        "result. Empty: no live preview.",
    )


def keep_input() -> io.Input:
    return io.Combo.Input(
        "keep",
        options=list(KEEPS),
        default="every step",
        optional=True,
        advanced=True,
        tooltip="every step: keeps the scores of every recorded step. running mean: keeps one map per layer, the mean "
        "over all steps. Use it for videos, to save memory; steps, mode and temperature can then no longer be "
        "changed.",
    )


def threshold_input(tooltip: str) -> io.Input:
    """A threshold of presence."""
    return io.Float.Input("threshold", default=THRESHOLD, min=0.0, max=1.0, step=0.01, optional=True, tooltip=tooltip)


def reading_inputs() -> list[io.Input]:
    """The layers and steps that heatmaps are made from."""
    return [
        io.String.Input(
            "layers",
            default="auto",
            optional=True,
            tooltip="Layers to use, counted from 0: auto (the default for the architecture), all (all recorded "
            "ones), 15-18, or 3,7,9-11.",
        ),
        io.String.Input(
            "steps",
            default="all",
            optional=True,
            tooltip="Recorded steps to use, counted from 0: all, 3-7, or 0,2; -1 is the last.",
        ),
    ]


def reading_mode_input() -> io.Input:
    return io.Combo.Input(
        "mode",
        options=list(MODE_NAMES),
        default="auto",
        optional=True,
        advanced=True,
        tooltip="Which published rule turns scores into shares. auto: the rule that the recording was made with.",
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
        tooltip="Divides the scores before the softmax over concepts. Higher values make shares more even, lower "
        "values make them sharper. 0 uses the default of the mode.",
    )


def colormap_input() -> io.Input:
    return io.Combo.Input(
        "colormap",
        options=COLORMAPS,
        default="viridis",
        optional=True,
        tooltip="Colours for low to high values. viridis and cividis are safe for colour-blind readers and print well "
        "in greyscale.",
    )


def mask_inputs() -> list[io.Input]:
    """How heatmaps become masks."""
    return [
        io.Combo.Input(
            "method",
            options=list(METHODS),
            default="soft",
            optional=True,
            tooltip="soft: the share itself. threshold: where the share exceeds the threshold. argmax: where the "
            "concept has the highest share. mean, otsu, percentile: above a level computed from the map itself; "
            "they find something even if the concept is absent.",
        ),
        io.Float.Input(
            "threshold",
            default=0.5,
            min=0.0,
            max=1.0,
            step=0.01,
            optional=True,
            tooltip="The share to exceed. Only for method threshold.",
        ),
        io.Float.Input(
            "percentile",
            default=90.0,
            min=0.0,
            max=100.0,
            step=0.5,
            optional=True,
            tooltip="90 keeps the highest tenth of the map. Only for method percentile.",
        ),
    ]


def finish_inputs() -> list[io.Input]:
    """What is done to a mask once it is made."""
    return [
        io.String.Input(
            "subtract",
            default="",
            optional=True,
            advanced=True,
            tooltip="Names of concepts to take away from the mask, separated by commas. Their mask is made in the same "
            "way.",
        ),
        io.Float.Input(
            "holes",
            display_name="fill holes",
            default=0.0,
            min=0.0,
            max=100.0,
            step=0.1,
            optional=True,
            advanced=True,
            tooltip="Fills holes smaller than this, in percent of the image. 100 fills all. Not for method soft, which "
            "has no edge.",
        ),
        io.Float.Input(
            "islands",
            display_name="drop islands",
            default=0.0,
            min=0.0,
            max=100.0,
            step=0.1,
            optional=True,
            advanced=True,
            tooltip="Removes separate parts smaller than this, in percent of the image. Not for method soft, which has "
            "no edge.",
        ),
        io.Int.Input(
            "grow",
            default=0,
            min=-512,
            max=512,
            step=1,
            optional=True,
            advanced=True,
            tooltip="Grows the mask by this many pixels in every direction, before it is blurred. Below 0 shrinks it.",
        ),
    ]
