"""The node that encodes concept words."""

from __future__ import annotations

import dataclasses
from typing import Any

from comfy_api.latest import io, ui

from ..concept_attention.choices import POOLINGS, READERS, Pooling, Reader
from ..concept_attention.hosts.comfyui.encoding.encode import encode_concepts
from . import named, report
from .sockets import CA_CONCEPTS, SAMPLING


class ConceptEncode(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ConceptEncode",
            display_name="Encode Concepts",
            category=SAMPLING,
            description="Encodes the words you want to locate. They do not have to be in the prompt, and they never "
            "change the generated image. Use the same text encoder as for the prompt.",
            search_aliases=["concept attention", "concepts", "heatmap words", "attention map", "DAAM", "saliency"],
            has_intermediate_output=True,
            inputs=[
                io.Clip.Input("clip", tooltip="The text encoder that belongs to the model."),
                io.String.Input(
                    "concepts",
                    multiline=True,
                    default="house, tree, sky",
                    placeholder="house, tree\nboat: a small red sailing boat",
                    tooltip="What to look for, separated by commas or one per line. Write name: longer phrase if the "
                    "text encoder should read more than the name. Put a backslash before a literal comma or colon.",
                ),
                io.String.Input(
                    "background",
                    multiline=True,
                    default="",
                    optional=True,
                    placeholder="grass, water",
                    tooltip="What else is in the image, in the same syntax. Concepts compete for every image token, so "
                    "heatmaps become sharper when everything in the image has a name.",
                ),
                io.Combo.Input(
                    "pooling",
                    options=list(POOLINGS),
                    default="auto",
                    optional=True,
                    advanced=True,
                    tooltip="How a concept of several tokens becomes one embedding. mean: the mean of all tokens. "
                    "first: the first token, as in the authors' code for Flux 1. last: the last token. auto: mean for "
                    "T5, whose tokens all see the whole concept; last for other encoders, where only the last token "
                    "does.",
                ),
                io.Combo.Input(
                    "reader",
                    options=list(READERS),
                    default="auto",
                    optional=True,
                    advanced=True,
                    tooltip="Which text encoder reads the concepts. Only Stable Diffusion 3 has a choice. t5: reads "
                    "each concept alone, as in the paper. clip: reads all concepts as one line, as in the authors' "
                    "code, so each depends on those before it. auto: T5 if loaded, otherwise the encoder that is.",
                ),
                io.String.Input(
                    "from_prompt",
                    display_name="from prompt",
                    multiline=True,
                    default="",
                    optional=True,
                    placeholder="a prompt, to look for everything in it",
                    tooltip="A prompt, of which every thing becomes a concept, adjectives included, beside the ones "
                    "above. Check Concepts then says what was asked for and is not there.",
                ),
                io.Boolean.Input(
                    "presence",
                    default=True,
                    optional=True,
                    advanced=True,
                    tooltip="Also encodes neutral words, once per text encoder, to measure whether each concept is "
                    "there at all. Needed by Check Concepts and the kind presence. Not possible with reader clip.",
                ),
            ],
            outputs=[CA_CONCEPTS.Output(display_name="concepts", tooltip="Encoded concepts for the recording nodes.")],
        )

    @classmethod
    def execute(
        cls,
        clip: Any,
        concepts: str,
        background: str = "",
        pooling: Pooling = "auto",
        reader: Reader = "auto",
        from_prompt: str = "",
        presence: bool = True,
    ) -> io.NodeOutput:
        wanted, asked = named.to_concepts_and_asked(concepts, background, from_prompt)
        encoded = encode_concepts(clip, wanted, pooling, reader, presence)
        result = dataclasses.replace(encoded, asked=asked)
        return io.NodeOutput(result, ui=ui.PreviewText(report.encoding_text(result)))
