"""Graphs that sample the landscape model and record concepts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from .graph import Graph, Node

PROMPT = "a house on grass under a sun in the sky"
CONCEPTS = "house, sun, sky, grass"


@dataclass
class Landscape:
    """The first nodes of every graph: model, prompts, concepts, an empty latent.

    Attributes:
        width, height: of the latent, in pixels.
        batch: number of images.
    """

    prompt: str = PROMPT
    concepts: str = CONCEPTS
    width: int = 128
    height: int = 128
    batch: int = 1
    graph: Graph = field(default_factory=Graph)

    def __post_init__(self) -> None:
        add = self.graph.add
        self.loader = add("ConceptAttentionTinyModel")
        self.model, self.clip, self.vae = self.loader[0], self.loader[1], self.loader[2]
        self.positive = add("CLIPTextEncode", clip=self.clip, text=self.prompt)
        self.negative = add("CLIPTextEncode", clip=self.clip, text="")
        self.encoded = add("ConceptEncode", clip=self.clip, concepts=self.concepts, background="", pooling="auto")
        self.empty = add("EmptyLatentImage", width=self.width, height=self.height, batch_size=self.batch)

    def sample(self, model: list[Any], kind: str = "KSampler", latent: list[Any] | None = None, **inputs: Any) -> Node:
        """Add a sampler node; `inputs` replace the defaults given here."""
        defaults: dict[str, Any] = {"seed": 1, "steps": 4, "cfg": 1.0, "sampler_name": "euler", "scheduler": "simple"}
        return self.graph.add(
            kind,
            model=model,
            negative=self.negative[0],
            latent_image=latent or self.empty[0],
            **{**defaults, "positive": self.positive[0], "denoise": 1.0, **inputs},
        )

    def patch(self, **inputs: Any) -> Node:
        """Add ConceptAttentionPatchModel."""
        return self.graph.add("ConceptAttentionPatchModel", model=self.model, concepts=self.encoded[0], **inputs)

    def decode(self, latent: list[Any]) -> Node:
        """Add VAEDecode."""
        return self.graph.add("VAEDecode", samples=latent, vae=self.vae)

    def save_latent(self, latent: list[Any]) -> Node:
        """Add SaveLatent."""
        return self.graph.add("SaveLatent", samples=latent, filename_prefix="test")

    def save_recording(self, recording: list[Any]) -> Node:
        """Add ConceptRecordingSave, in full precision."""
        return self.graph.add("ConceptRecordingSave", recording=recording, filename_prefix="test", float16=False)

    def recorded(self, **inputs: Any) -> tuple[Node, Node]:
        """Add patched model, stock KSampler and a saved recording; returns the sampler and the saving node."""
        sampler = self.sample(self.patch()[0], **inputs)
        collected = self.graph.add("ConceptAttentionCollect", latent=sampler[0])
        return sampler, self.save_recording(collected[0])
