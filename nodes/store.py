"""Recordings to and from files."""

from __future__ import annotations

from comfy_api.latest import io

from ..concept_attention.recording.file import load_recording, save_recording
from ..concept_attention.recording.recording import Recording, in_float16
from . import folders, report
from .sockets import CA_RECORDING, RECORDINGS


class ConceptRecordingSave(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ConceptRecordingSave",
            display_name="Save Concept Recording",
            category=RECORDINGS,
            description="Saves a recording as one safetensors file in ComfyUI's output folder. Heatmaps and masks can "
            "be made from it at any time, without the model.",
            search_aliases=["concept attention", "export recording", "save heatmaps", "safetensors"],
            is_output_node=True,
            inputs=[
                CA_RECORDING.Input("recording", tooltip="What was recorded while sampling, or of an existing picture."),
                io.String.Input(
                    "filename_prefix",
                    default="recordings/concepts",
                    tooltip="Name of the file below the output folder, subfolders included; a number is added. "
                    "%year%, %month%, %day%, %hour%, %minute% and %second% are filled in.",
                ),
                io.Boolean.Input(
                    "float16",
                    default=False,
                    optional=True,
                    tooltip="Half the size, with scores rounded to about three digits. A recording with scores too "
                    "large for that is saved as it is.",
                ),
            ],
            outputs=[],
        )

    @classmethod
    def execute(cls, recording: Recording, filename_prefix: str, float16: bool = False) -> io.NodeOutput:
        place = folders.next_place(filename_prefix)
        save_recording(in_float16(recording) if float16 else recording, place.path)
        saved = {"filename": place.filename, "subfolder": place.subfolder, "type": "output"}
        text = f"Saved as {folders.name_of(place)}"
        return io.NodeOutput(ui={"text": [text], "recordings": [saved]})


class ConceptRecordingLoad(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ConceptRecordingLoad",
            display_name="Load Concept Recording",
            category=RECORDINGS,
            description="Loads a recording that Save Concept Recording or the command line wrote, from ComfyUI's input "
            "or output folder.",
            search_aliases=["concept attention", "import recording", "load heatmaps", "safetensors"],
            has_intermediate_output=True,
            inputs=[
                io.Combo.Input(
                    "file",
                    options=folders.list_recordings(),
                    tooltip=f"Files of the input and output folders whose names end in {folders.SUFFIX}.",
                )
            ],
            outputs=[CA_RECORDING.Output(display_name="recording", tooltip="The recording as it was saved.")],
        )

    @classmethod
    def validate_inputs(cls, file: str = "") -> bool | str:
        if file:  # not known yet if another node names it
            try:
                folders.find_recording(file)
            except ValueError as error:
                return str(error)
        return True

    @classmethod
    def fingerprint_inputs(cls, file: str = "") -> str | float:
        if not file:
            return float("nan")  # which file it is, and whether it changed, is not known yet: look again
        stat = folders.find_recording(file).stat()
        return f"{stat.st_mtime_ns} {stat.st_size}"

    @classmethod
    def execute(cls, file: str) -> io.NodeOutput:
        result = load_recording(folders.find_recording(file))
        return io.NodeOutput(result, ui={"text": [report.recording_text(result)]})
