"""Video recordings in a running ComfyUI: masks and overlays as batches for core's video nodes."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image

from concept_attention.concepts import Concept
from concept_attention.heatmaps.heatmaps import make_heatmaps
from concept_attention.recording.file import save_recording
from concept_attention.recording.recording import Recording

from ..support.server.client import Client, Interrupted, NodeError
from ..support.server.graph import Graph, Node
from ..support.server.landscape import Landscape
from ..support.server.previews import node_texts

NAME = "moving.recording.safetensors"
COUNTS = (1, 4, 4)
WIDTH, HEIGHT = 96, 64


def moving_ball() -> Recording:
    """Nine frames of 96 x 64 pixels in three latent ones; in latent frame t the ball fills columns 2t, 2t + 1 of 6."""
    scores = torch.zeros(1, 1, 1, 2, 3, 4, 6)
    scores[..., 1, :, :, :] = 4
    for frame in range(3):
        scores[..., 0, frame, :, 2 * frame : 2 * frame + 2] = 8
    return Recording(
        scores=scores.flatten(4),
        norms=torch.ones(1, 1, 1, 2),
        layers=(0,),
        layer_count=1,
        default_layers=(0,),
        steps=(0,),
        sigmas=(0.5,),
        grid=(3, 4, 6),
        image_size=(HEIGHT, WIDTH),
        architecture="cogvideox",
        mode="flux",
        concepts=(Concept("ball", "ball"), Concept("grass", "grass", "background")),
        frame_counts=COUNTS,
    )


def through_video(graph: Graph, images: list[object]) -> Node:
    """What is left of images that core made a video of; shown."""
    video = graph.add("CreateVideo", images=images, fps=8.0)
    graph.add("SaveVideo", video=video[0], filename_prefix="test", format="mp4", codec="h264")
    frames = graph.add("GetVideoComponents", video=video[0])
    return graph.add("PreviewImage", images=frames[0])


def loaded(comfyui: Client, graph: Graph) -> Node:
    save_recording(moving_ball(), comfyui.server.base / "input" / NAME)
    recording = graph.add("ConceptRecordingLoad", file=NAME)
    return graph.add("ConceptHeatmaps", recording=recording[0])


def columns(picture: np.ndarray) -> tuple[int, int]:
    """First and last column that is bright."""
    (bright,) = np.nonzero(picture.mean(axis=(0, 2)) > 128)
    return int(bright[0]), int(bright[-1])


def test_masks_follow_a_moving_thing_through_a_video(comfyui: Client) -> None:
    graph = Graph()
    heatmaps = loaded(comfyui, graph)
    mask = graph.add("ConceptHeatmapToMask", heatmaps=heatmaps[0], concepts="ball", method="argmax")
    shown = through_video(graph, graph.add("MaskToImage", mask=mask[0])[0])
    latent = graph.add("ConceptHeatmapToMask", heatmaps=heatmaps[0], concepts="ball", method="argmax", frames="latent")
    few = graph.add("PreviewImage", images=graph.add("MaskToImage", mask=latent[0])[0])
    run = comfyui.run(graph)
    frames = comfyui.images(run, shown)
    assert len(frames) == 9 and frames[0].shape == (HEIGHT, WIDTH, 3)
    for frame, place in zip(frames, (0, 1, 1, 1, 1, 2, 2, 2, 2), strict=True):
        first, last = columns(frame)
        assert abs(first - 32 * place) <= 1 and abs(last - (32 * place + 31)) <= 1
    assert [columns(frame)[0] // 31 for frame in comfyui.images(run, few)] == [0, 1, 2]


def test_overlays_of_all_frames_are_a_video(comfyui: Client) -> None:
    graph = Graph()
    heatmaps = loaded(comfyui, graph)
    image = graph.add("EmptyImage", width=WIDTH, height=HEIGHT, batch_size=9, color=0)
    options = {"image": image[0], "heatmaps": heatmaps[0], "colormap": "gray", "opacity": 1.0, "legend": False}
    each = graph.add("ConceptHeatmapOverlay", layout="one per concept", **options)
    animated = graph.add(
        "SaveAnimatedWEBP",
        images=each[0],
        filename_prefix="test",
        fps=8.0,
        lossless=True,
        quality=80,
        method="default",
    )
    shown = through_video(graph, each[0])
    run = comfyui.run(graph)
    frames = comfyui.images(run, shown)
    assert len(frames) == 18  # all of the ball's, then all of the grass's
    assert [columns(frame)[0] // 31 for frame in frames[:9]] == [0, 1, 1, 1, 1, 2, 2, 2, 2]
    assert frames[9].mean() > frames[0].mean()
    (file,) = comfyui.files(run, animated)
    assert getattr(Image.open(io.BytesIO(file)), "n_frames", 1) > 1


def test_a_large_recording_is_announced_below_the_node_before_it_runs(comfyui: Client) -> None:
    start = Landscape(batch=32)
    sampler = start.sample(start.model, "ConceptAttentionKSampler", concepts=start.encoded[0], steps=10000)
    start.save_recording(sampler[1])
    with node_texts(comfyui) as texts:
        number = comfyui.queue(start.graph)
        comfyui.interrupt_at(number, step=1)
        with pytest.raises(Interrupted):
            comfyui.wait(number)
    ((node, text),) = texts
    assert node == sampler.number and text.startswith("This recording will take ")
    assert "10000 steps, 4 layers, 4 concepts, 2048 tokens" in text and "keep=running mean" in text


def test_a_running_mean_makes_the_heatmaps_of_every_step(comfyui: Client) -> None:
    start = Landscape(batch=2)
    recordings = [
        start.save_recording(
            start.sample(start.model, "ConceptAttentionKSampler", concepts=start.encoded[0], keep=keep)[1]
        )
        for keep in ("every step", "running mean")
    ]
    run = comfyui.run(start.graph)
    every, mean = (comfyui.recording(run, saved) for saved in recordings)
    assert (every.averaged, mean.averaged) == (None, "share") and len(mean.steps) == 1
    difference = make_heatmaps(mean).values - make_heatmaps(every).values
    assert float(difference.abs().max()) < 1e-6
    assert mean.metadata["steps"] == "4 of 4 steps recorded"


def test_frames_that_were_cut_off_the_latent_are_cut_off_the_heatmaps(comfyui: Client) -> None:
    """As after Wan VACE with a reference picture. Without that, the overlay says what to connect."""
    if not (comfyui.server.comfyui / "comfy" / "ldm" / "cogvideo").is_dir():
        pytest.skip("this ComfyUI has no CogVideoX")
    graph = Graph()
    add = graph.add
    model = add("ConceptAttentionTinyModel", model="tiny-cogvideox")
    words = {"words": "boat, sun", "background": "sky, water"}
    patched = add("ConceptAttentionPatchModel", model=model[0], clip=model[1], **words)
    prompt = add("CLIPTextEncode", clip=model[1], text="a boat on water")
    empty = add("EmptyHunyuanLatentVideo", width=128, height=128, batch_size=1, length=33)
    options = {"seed": 1, "steps": 1, "cfg": 1.0, "sampler_name": "euler", "scheduler": "simple", "denoise": 1.0}
    sampler = add(
        "KSampler", model=patched[0], positive=prompt[0], negative=prompt[0], latent_image=empty[0], **options
    )
    trimmed = add("TrimVideoLatent", samples=sampler[0], trim_amount=2)
    images = add("VAEDecode", samples=trimmed[0], vae=model[2])
    saved = {}
    for name, latent in (("whole", sampler), ("part", trimmed)):
        collected = add("ConceptAttentionCollect", latent=latent[0])
        saved[name] = add("ConceptRecordingSave", recording=collected[0], filename_prefix=name, float16=False)
    overlay = add("ConceptHeatmapOverlay", image=images[0], heatmaps=collected[1], layout="segmentation")
    shown = add("PreviewImage", images=overlay[0])
    run = comfyui.run(graph)
    whole, part = (comfyui.recording(run, node) for node in saved.values())
    assert (whole.grid, part.grid) == ((9, 8, 8), (7, 8, 8)) and len(comfyui.images(run, shown)) == 7
    assert torch.equal(part.scores.unflatten(-1, part.grid), whole.scores.unflatten(-1, whole.grid)[..., 2:, :, :])

    wrong = graph.add("ConceptAttentionCollect", latent=sampler[0])
    graph.add("PreviewImage", images=graph.add("ConceptHeatmapOverlay", image=images[0], heatmaps=wrong[1])[0])
    with pytest.raises(NodeError, match="(?s)Got 7 image.*1 x 9 frames.*Trim Video Latent.*Collect Concept Recording"):
        comfyui.run(graph)
