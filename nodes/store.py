"""Nodes that save and load recordings."""

from __future__ import annotations

from comfy_api.latest import io

from ..concept_attention.errors import UserError
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
            description="Saves a recording as one safetensors file in ComfyUI's output folder. You can make heatmaps "
            "and masks from it at any time, without the model.",
            search_aliases=["concept attention", "export recording", "save heatmaps", "safetensors"],
            is_output_node=True,
            inputs=[
                CA_RECORDING.Input("recording", tooltip="The recording to save."),
                io.String.Input(
                    "filename_prefix",
                    default="recordings/concepts",
                    tooltip="File name in the output folder, with optional subfolders. A number is added. "
                    "%year%, %month%, %day%, %hour%, %minute% and %second% are replaced by the current time.",
                ),
                io.Boolean.Input(
                    "float16",
                    default=False,
                    optional=True,
                    tooltip="Saves scores in half precision: shares keep about three digits, and the file of five "
                    "concepts is 40 % smaller. A recording whose scores are too large for float16 is saved in full "
                    "precision.",
                ),
            ],
            outputs=[],
        )

    @classmethod
    def execute(cls, recording: Recording, filename_prefix: str, float16: bool = False) -> io.NodeOutput:
        file = folders.next_output_file(filename_prefix)
        save_recording(in_float16(recording) if float16 else recording, file.path)
        saved = {"filename": file.filename, "subfolder": file.subfolder, "type": "output"}
        return io.NodeOutput(ui={"text": [f"Saved as {file.listed_name}"], "recordings": [saved]})


class ConceptRecordingLoad(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ConceptRecordingLoad",
            display_name="Load Concept Recording",
            category=RECORDINGS,
            description="Loads a recording from ComfyUI's input or output folder. Save Concept Recording and the "
            "command line write such files.",
            search_aliases=["concept attention", "import recording", "load heatmaps", "safetensors"],
            has_intermediate_output=True,
            inputs=[
                io.Combo.Input(
                    "file",
                    options=folders.list_recordings(),
                    tooltip=f"Files in the input and output folders whose names end in {folders.SUFFIX}.",
                )
            ],
            outputs=[CA_RECORDING.Output(display_name="recording", tooltip="The loaded recording.")],
        )

    @classmethod
    def validate_inputs(cls, file: str = "") -> bool | str:
        if file:  # empty if another node supplies the name
            try:
                folders.find_recording(file)
            except UserError as error:
                return str(error)
        return True

    @classmethod
    def fingerprint_inputs(cls, file: str = "") -> str | float:
        if not file:
            return float("nan")  # another node supplies the name: always run
        stat = folders.find_recording(file).stat()
        return f"{stat.st_mtime_ns} {stat.st_size}"

    @classmethod
    def execute(cls, file: str) -> io.NodeOutput:
        result = load_recording(folders.find_recording(file))
        return io.NodeOutput(result, ui={"text": [report.recording_text(result)]})
