"""The node that makes heatmaps from a recording."""

from __future__ import annotations

from comfy_api.latest import io, ui

from ..concept_attention.choices import KINDS, Kind
from ..concept_attention.heatmaps.heatmaps import make_heatmaps
from ..concept_attention.hosts.comfyui.device import on_torch_device
from ..concept_attention.recording.recording import Recording
from . import report
from .sockets import CA_HEATMAPS, CA_RECORDING, HEATMAPS, reading_inputs, reading_mode_input, temperature_input


class ConceptHeatmaps(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ConceptHeatmaps",
            display_name="Concept Heatmaps",
            category=HEATMAPS,
            description="Makes one heatmap per concept from a recording and reports each concept's share of the image. "
            "You can change layers, steps and mode at any time without sampling again.",
            search_aliases=["concept attention", "attention map", "saliency", "DAAM", "layers", "steps"],
            has_intermediate_output=True,
            inputs=[
                CA_RECORDING.Input("recording", tooltip="The recording to make heatmaps from."),
                *reading_inputs(),
                reading_mode_input(),
                temperature_input(),
                io.Combo.Input(
                    "kind",
                    options=list(KINDS),
                    default="share",
                    optional=True,
                    tooltip="share: how much of each image token belongs to a concept, 0 to 1, comparable between "
                    "images. score: the raw scores. stretched: shares stretched to 0-1, for display only. presence: "
                    "0 to 1, each concept by itself against neutral words, so that concepts may overlap.",
                ),
            ],
            outputs=[CA_HEATMAPS.Output(display_name="heatmaps", tooltip="One heatmap per concept and image.")],
        )

    @classmethod
    def execute(
        cls,
        recording: Recording,
        layers: str = "auto",
        steps: str = "all",
        mode: str = "auto",
        temperature: float = 0.0,
        kind: Kind = "share",
    ) -> io.NodeOutput:
        divisor = temperature or None
        heatmaps = on_torch_device(make_heatmaps, recording, layers, steps, mode, divisor, kind)
        text = report.heatmaps_text(recording, layers, steps, mode, divisor, heatmaps)
        return io.NodeOutput(heatmaps, ui=ui.PreviewText(text))
