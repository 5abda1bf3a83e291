"""Embedded landscape models besides the first, sampled by stock nodes in a running ComfyUI."""

from __future__ import annotations

import numpy as np
import pytest

from ..support.server.client import Client
from ..support.server.graph import Graph

# The node of an empty latent, its inputs besides the size, a sampler, and the token grid. Each of nine frames of the
# video has a latent frame of its own.
MODELS: dict[str, tuple[str, dict[str, int], str, tuple[int, int, int]]] = {
    "tiny-cogvideox": ("EmptyHunyuanLatentVideo", {"length": 33}, "euler", (9, 8, 8)),
    "tiny-sd3": ("EmptySD3LatentImage", {}, "lcm", (1, 8, 8)),
}


@pytest.mark.parametrize("name", MODELS)
def test_a_model_draws_what_the_prompt_says_and_its_maps_find_it(comfyui: Client, name: str) -> None:
    """The sky is found above, the water below."""
    if name == "tiny-cogvideox" and not (comfyui.server.comfyui / "comfy" / "ldm" / "cogvideo").is_dir():
        pytest.skip("this ComfyUI has no CogVideoX")
    latent, length, sampler_name, grid = MODELS[name]
    graph = Graph()
    add = graph.add
    model = add("ConceptAttentionTinyModel", model=name)
    prompts = [
        add("CLIPTextEncode", clip=model[1], text=text) for text in ("a boat on water under a sun in the sky", "")
    ]
    patched = add(
        "ConceptAttentionPatchModel", model=model[0], clip=model[1], words="boat, sun", background="sky, water"
    )
    empty = add(latent, width=128, height=128, batch_size=1, **length)
    sampler = add(
        "KSampler",
        model=patched[0],
        positive=prompts[0][0],
        negative=prompts[1][0],
        latent_image=empty[0],
        **{"seed": 1, "steps": 12, "cfg": 3.0, "sampler_name": sampler_name, "scheduler": "simple", "denoise": 1.0},
    )
    images = add("VAEDecode", samples=sampler[0], vae=model[2])
    collected = add("ConceptAttentionCollect", latent=sampler[0])
    shown = add("PreviewImage", images=images[0])
    masks = {}
    for concept in ("sky", "water"):
        mask = add("ConceptHeatmapToMask", heatmaps=collected[1], concepts=concept, method="argmax")
        masks[concept] = add("MaskPreview", mask=mask[0])
    saved = add("ConceptRecordingSave", recording=collected[0], filename_prefix="test")
    run = comfyui.run(graph)
    pictures = np.stack(comfyui.images(run, shown))
    recording = comfyui.recording(run, saved)
    assert pictures.shape == (grid[0], 128, 128, 3) and pictures.std() > 20
    assert recording.grid == grid and recording.frame_counts in (None, (1,) * grid[0])
    sky, water = (np.stack(comfyui.images(run, masks[concept]))[..., 0] > 0 for concept in ("sky", "water"))
    assert len(sky) == len(water) == grid[0]
    assert sky[:, :40].mean() > 0.4 > sky[:, 88:].mean() and water[:, 88:].mean() > 0.4 > water[:, :40].mean()
