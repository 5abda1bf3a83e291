"""Accuracy of a landscape model: maps of unseen scenes, and agreement of maps while generating with maps afterwards.

Also draws the contact sheets of docs/landscape-model.md. The maps are taught; see that page.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont
from tqdm import tqdm

from concept_attention import make_heatmaps, parse_concepts
from concept_attention.embedded import FOLDERS
from concept_attention.files import save_image
from concept_attention.hosts.diffusers import analyze, generate, load_pipeline
from concept_attention.hosts.diffusers.registry import family_of
from concept_attention.tiny.evaluation.agreement import winners
from concept_attention.tiny.evaluation.landscapes import Prompt, evaluate_landscapes
from concept_attention.tiny.world.clips import MOVABLE

# Prompts, and the concepts they show; every object, ground and time of day is among them.
PROMPTS = (
    ("a red house and a tree on grass under the sky", "house, tree, grass, sky"),
    ("a boat, a sun, water, sky", "boat, sun, water, sky"),
    ("a moon and a mountain on snow under the night sky", "moon, mountain, snow, sky"),
    ("a blue car and a tree on grass", "car, tree, grass, sky"),
    ("a balloon in the sky over sand", "balloon, sand, sky"),
    ("a yellow flower and a rock on grass", "flower, rock, grass, sky"),
    ("a mountain and a sun, sand, sky", "mountain, sun, sand, sky"),
    ("snow and sky with a green house", "house, snow, sky"),
    ("a boat and a moon on water under the night sky", "boat, moon, water, sky"),
    ("a purple balloon and a house on sand", "balloon, house, sand, sky"),
    ("a rock and a tree on sand under the sunset sky", "rock, tree, sand, sky"),
    ("a red car on snow", "car, snow, sky"),
    ("a cloud in the sky over water", "cloud, water, sky"),
    ("a white house on grass under the night sky", "house, grass, sky"),
    ("a tree and a cloud over snow", "tree, cloud, snow, sky"),
    ("a mountain over water under the sunset sky", "mountain, water, sky"),
    ("a red flower on sand", "flower, sand, sky"),
    ("a yellow car and a sun on grass", "car, sun, grass, sky"),
    ("a rock on grass under a moon in the night sky", "rock, moon, grass, sky"),
    ("a red balloon and a cloud in the sky over grass", "balloon, cloud, grass, sky"),
)
COLUMNS = 5  # prompts side by side; three for clips
TILE = 256  # pixels of an image on the sheet; half for a frame


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", choices=tuple(FOLDERS), default="tiny")
    parser.add_argument("--count", type=int, default=200, help="unseen scenes (default 200)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--sheet", type=Path, help="write the contact sheet there")
    arguments = parser.parse_args()

    pipeline = load_pipeline(arguments.model)
    pipeline.set_progress_bar_config(disable=True)
    video = family_of(pipeline).video
    frame_columns = "  worst frame  moving IoU" * video
    print(f"prompt    noise  accuracy  mean IoU  average precision  absent rate{frame_columns}")
    shown: Prompt
    for shown in ("none", "caption"):
        for noise in (0.3, 0.5):
            figures = evaluate_landscapes(pipeline, arguments.count, arguments.seed, noise=noise, prompt=shown)
            print(
                f"{shown:<8}  {noise:5.1f}  {figures.pixel_accuracy:8.3f}  {figures.mean_iou:8.3f}  "
                f"{figures.average_precision:17.3f}  {figures.absent_rate:11.4f}"
                + f"  {min(figures.frame_accuracy):11.3f}  {figures.moving_iou:10.3f}"
                * video
            )

    rows, agreements = [], []
    for number, (prompt, names) in enumerate(tqdm(PROMPTS, desc="generating")):
        if video and not any(name in names for name in MOVABLE):
            continue  # something moves in every clip that it was trained on
        concepts = parse_concepts(names)
        result = generate(pipeline, prompt, concepts, seed=arguments.seed + number)
        frames = result.videos[0] if video else result.images
        finished = analyze(pipeline, frames, concepts, noise=0.3)
        while_made, after = (winners(make_heatmaps(one).values[0]) for one in (result.recording, finished))
        agreements.append(float((while_made == after).float().mean()))
        tiles = [frames[0], frames[len(frames) // 2], frames[-1]] if video else frames
        rows.append((prompt, tiles))
    mean = sum(agreements) / len(agreements)
    print(f"maps while generating agree with those of the finished image: mean {mean:.3f}, least {min(agreements):.3f}")
    if arguments.sheet:
        save_image(contact_sheet(rows), arguments.sheet)


def contact_sheet(made: list[tuple[str, list[Image.Image]]]) -> Image.Image:
    """Every image, or every clip's first, middle and last frame, above its prompt."""
    frames = len(made[0][1])
    columns, side, line = (COLUMNS, TILE, 22) if frames == 1 else (3, TILE // 2, 22)
    gap = 0 if frames == 1 else 8
    sheet = Image.new("RGB", (columns * (frames * side + gap) - gap, -(-len(made) // columns) * (side + line)), "white")
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(9)
    for index, (prompt, images) in enumerate(made):
        left, top = index % columns * (frames * side + gap), index // columns * (side + line)
        for column, image in enumerate(images):
            sheet.paste(image.resize((side, side), Image.Resampling.LANCZOS), (left + column * side, top))
        draw.text((left + 3, top + side + 4), prompt, "black", font)
    return sheet


if __name__ == "__main__":
    main()
