"""Folders of the embedded landscape models: a small Flux, Stable Diffusion 3 and CogVideoX; `tiny` has their code.

Their concept maps are taught, by a small supervised term on drawn landscapes with exact label maps. That makes each a
test instrument that shows when something between a model and its maps breaks. It is no evidence that ConceptAttention
works on models that were not taught. A small Stable Diffusion 2 has learned from images and captions alone.
"""

from pathlib import Path

FLUX_FOLDER = Path(__file__).resolve().parent / "tiny" / "landscape"
SD3_FOLDER = FLUX_FOLDER.with_name("landscape_sd3")
COGVIDEOX_FOLDER = FLUX_FOLDER.with_name("landscape_cogvideox")
SD_FOLDER = FLUX_FOLDER.with_name("landscape_sd")
EMBEDDED = {"tiny": FLUX_FOLDER, "tiny-sd3": SD3_FOLDER, "tiny-cogvideox": COGVIDEOX_FOLDER}  # by users' name
UNTAUGHT = {"tiny-sd": SD_FOLDER}  # its maps are read from cross-attention
FOLDERS = {**EMBEDDED, **UNTAUGHT}

SIZES = {  # width and height in pixels that each was trained on
    "tiny": ((256, 256), (384, 256), (256, 384)),
    "tiny-sd3": ((128, 128),),
    "tiny-cogvideox": ((128, 128),),
    "tiny-sd": ((128, 128),),
}
FEWEST_FRAMES = {"tiny-cogvideox": 9}  # longer clips are no worse
# Noise level up to which their maps are right, or as right as they get.
NOISIEST = {"tiny": 0.7, "tiny-sd3": 0.6, "tiny-cogvideox": 0.9, "tiny-sd": 0.7}


# Everything that their world can show.
WORDS = (
    "sky", "grass", "sand", "water", "snow", "house", "tree", "sun", "moon", "cloud", "mountain", "boat", "car",
    "flower", "balloon", "rock",
)  # fmt: skip


def outside(model: str, width: int, height: int, frames: int = 1, noise: float = 0.0) -> str:
    """What to know about maps of an embedded model beyond what it was trained on, in short lines; "" within it.

    Args:
        model: a key of `SIZES`.
        width, height: pixels that the model gets.
        frames: of a video.
        noise: level that is added to an existing image, 0-1.
    """
    size, length = f"{width} x {height} pixels", f"{frames} frame{'s'[: frames != 1]}"
    fewest, noisiest = FEWEST_FRAMES.get(model, 1), NOISIEST[model]
    trained = ", ".join(f"{w} x {h}" for w, h in SIZES[model])
    reasons = [
        (size, f"it was trained on {trained}", (width, height) in SIZES[model]),
        (length, f"it was trained on {fewest}", frames >= fewest),
        (f"noise {noise:g}", f"its maps are right up to about {noisiest:g}", noise <= noisiest),
    ]
    lines = [f"The landscape model at {given}: {known}." for given, known, inside in reasons if not inside]
    return "\n".join([*lines, "Its maps may be far less accurate there."] if lines else [])


TAUGHT = (
    "The landscape model's concept maps are taught, on drawn scenes whose true maps are known: they show whether "
    "everything around the model works, not whether ConceptAttention works on models that were not taught."
)
