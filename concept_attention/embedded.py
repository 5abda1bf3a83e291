"""The embedded landscape models: a small Flux, Stable Diffusion 3 and CogVideoX whose true concept maps are known.

Their concept maps are taught, by a small supervised term on drawn landscapes with exact label maps. That makes each an
instrument that shows when something between a model and its maps breaks; it is no evidence that ConceptAttention works
on models that were not taught.
"""

from pathlib import Path

MODEL_FOLDER = Path(__file__).resolve().parent / "tiny" / "landscape"
SD3_FOLDER = MODEL_FOLDER.with_name("landscape_sd3")
COGVIDEOX_FOLDER = MODEL_FOLDER.with_name("landscape_cogvideox")
# By the name that users give.
EMBEDDED = {"tiny": MODEL_FOLDER, "tiny-sd3": SD3_FOLDER, "tiny-cogvideox": COGVIDEOX_FOLDER}

TAUGHT = (
    "The landscape model's concept maps are taught, on drawn scenes whose true maps are known: they show whether "
    "everything around the model works, not whether ConceptAttention works on models that were not taught."
)
