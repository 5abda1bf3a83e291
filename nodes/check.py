"""The node that says whether concepts are in an image, for branches, loops and the API."""

from __future__ import annotations

from comfy_api.latest import io

from ..concept_attention.heatmaps.presence import THRESHOLD
from ..concept_attention.recording.recording import Recording
from . import convert, report
from .sockets import CA_RECORDING, HEATMAPS, reading_inputs, threshold_input


class ConceptCheck(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ConceptCheck",
            display_name="Check Concepts",
            category=HEATMAPS,
            description="Says whether the image has what was asked for. Each concept is measured by itself against "
            "neutral words, so the answer does not depend on the other concepts. Connect the result to a switch, a "
            "branch or a loop.",
            search_aliases=[
                "concept attention",
                "presence",
                "is it there",
                "missing object",
                "verify prompt",
                "quality gate",
                "if",
                "score",
            ],
            has_intermediate_output=True,
            inputs=[
                CA_RECORDING.Input("recording", tooltip="The recording of the image."),
                io.String.Input(
                    "wanted",
                    default="",
                    optional=True,
                    tooltip="Names of the concepts that must be there, separated by commas. Empty: all but the "
                    "background.",
                ),
                threshold_input("A concept is present if its score, 0 to 1, reaches this."),
                *reading_inputs(),
            ],
            outputs=[
                io.Boolean.Output(
                    display_name="present", tooltip="Whether every wanted concept is present in every image."
                ),
                io.Float.Output(display_name="least_score", tooltip="The least score of the wanted concepts, 0 to 1."),
                io.Float.Output(
                    display_name="scores",
                    is_output_list=True,
                    tooltip="The score of each wanted concept, 0 to 1, as a list; the least of all images.",
                ),
                io.String.Output(display_name="report", tooltip="One line per concept, and what else was found."),
            ],
        )

    @classmethod
    def execute(
        cls,
        recording: Recording,
        wanted: str = "",
        threshold: float = THRESHOLD,
        layers: str = "auto",
        steps: str = "all",
    ) -> io.NodeOutput:
        found = convert.to_presence(recording, wanted, threshold, layers, steps)
        text = report.check_text(recording, found, threshold, layers, steps)
        scores = [one.score for one in found]
        shown = {"text": [text], "concept_presence": [one.as_dict() for one in found]}
        return io.NodeOutput(all(all(one.present) for one in found), min(scores), scores, text, ui=shown)
