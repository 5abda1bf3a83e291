"""From words to concepts that a model understands."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io, ui

from ..concept_attention.choices import POOLINGS, READERS, Pooling, Reader
from ..concept_attention.concepts import parse_concepts
from ..concept_attention.hosts.comfyui.encoding.encode import encode_concepts
from . import report
from .sockets import CA_CONCEPTS, SAMPLING


class ConceptEncode(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ConceptEncode",
            display_name="Encode Concepts",
            category=SAMPLING,
            description="Turns the words for what you look for into concepts. They need not occur in the prompt, and "
            "they never change the picture. Use the same text encoder as for the prompt.",
            search_aliases=["concept attention", "concepts", "heatmap words", "attention map", "DAAM", "saliency"],
            has_intermediate_output=True,
            inputs=[
                io.Clip.Input("clip", tooltip="The text encoder of the model that will be looked into."),
                io.String.Input(
                    "concepts",
                    multiline=True,
                    default="house, tree, sky",
                    placeholder="house, tree\nboat: a small red sailing boat",
                    tooltip="What to look for, separated by commas or one per line. Write name: longer phrase to let "
                    "the model read more than the name. A backslash before a comma or colon keeps it as it is.",
                ),
                io.String.Input(
                    "background",
                    multiline=True,
                    default="",
                    optional=True,
                    placeholder="grass, water",
                    tooltip="What else is in the picture, written the same way. Concepts compete for every place, so "
                    "the more of the picture has a name, the sharper the heatmaps become.",
                ),
                io.Combo.Input(
                    "pooling",
                    options=list(POOLINGS),
                    default="auto",
                    optional=True,
                    advanced=True,
                    tooltip="What stands for a concept of several tokens: mean the mean of all, first the first (as "
                    "the authors of the method do for Flux 1), last the last. auto takes the mean with T5, whose "
                    "tokens have all read the whole concept, and the last with any other encoder, as it alone has.",
                ),
                io.Combo.Input(
                    "reader",
                    options=list(READERS),
                    default="auto",
                    optional=True,
                    advanced=True,
                    tooltip="Which text encoder reads the concepts, for Stable Diffusion 3. t5: each concept by "
                    "itself, as in the paper. clip: all in one line, as in the authors' code, so that each depends on "
                    "those before it. auto takes T5 where there is one, and whatever the model has otherwise.",
                ),
            ],
            outputs=[CA_CONCEPTS.Output(display_name="concepts", tooltip="The concepts, for every node that records.")],
        )

    @classmethod
    def execute(
        cls,
        clip: Any,
        concepts: str,
        background: str = "",
        pooling: Pooling = "auto",
        reader: Reader = "auto",
    ) -> io.NodeOutput:
        wanted = parse_concepts(concepts, background)
        result = encode_concepts(clip, wanted, pooling, reader)
        return io.NodeOutput(result, ui=ui.PreviewText(report.encoding_text(result)))
