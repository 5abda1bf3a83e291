"""A graph that shows a made-up recording of many concepts: nothing is sampled."""

from __future__ import annotations

import torch

from concept_attention.concepts import Concept
from concept_attention.recording.file import save_recording
from concept_attention.recording.recording import Recording

from ..server.client import Client
from ..server.graph import Graph, Node

FILE = "many.recording.safetensors"
NAMES = ("sky", "house", "boat", "tree", "sun", "moon", "cloud", "rock")
SIZE = (96, 128)  # height and width, pixels


def many_concepts() -> Recording:
    """Eight concepts over 2 steps and 3 layers; `moon` wins nowhere."""
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn((2, 3, 1, len(NAMES), 6, 8), generator=generator)
    scores += torch.arange(len(NAMES))[:, None, None] / 10
    scores[..., NAMES.index("house"), 1:5, 1:4] += 6
    scores[..., NAMES.index("moon"), :, :] -= 8
    return Recording(
        scores=scores.flatten(start_dim=-2),
        norms=torch.ones(2, 3, 1, len(NAMES)),
        layers=(0, 1, 2),
        layer_count=3,
        default_layers=(0, 1, 2),
        steps=(0, 1),
        sigmas=(1.0, 0.5),
        grid=(1, 6, 8),
        image_size=SIZE,
        architecture="flux",
        mode="flux",
        concepts=tuple(Concept(name, name) for name in NAMES),
    )


def many_concepts_graph(comfyui: Client) -> tuple[Graph, Node]:
    """The graph, and its viewer."""
    save_recording(many_concepts(), comfyui.server.base / "input" / FILE)
    graph = Graph()
    loaded = graph.add("ConceptRecordingLoad", file=FILE)
    image = graph.add("EmptyImage", width=SIZE[1], height=SIZE[0], batch_size=1, color=0x3060A0)
    return graph, graph.add("ConceptHeatmapViewer", image=image[0], recording=loaded[0])
