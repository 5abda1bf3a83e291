"""Folders of the embedded landscape models: a small Flux, Stable Diffusion 3 and CogVideoX; `tiny` has their code.

Their concept maps are taught, by a small supervised term on drawn landscapes with exact label maps. That makes each a
test instrument that shows when something between a model and its maps breaks. It is no evidence that ConceptAttention
works on models that were not taught.
"""

from pathlib import Path

FLUX_FOLDER = Path(__file__).resolve().parent / "tiny" / "landscape"
SD3_FOLDER = FLUX_FOLDER.with_name("landscape_sd3")
COGVIDEOX_FOLDER = FLUX_FOLDER.with_name("landscape_cogvideox")
EMBEDDED = {"tiny": FLUX_FOLDER, "tiny-sd3": SD3_FOLDER, "tiny-cogvideox": COGVIDEOX_FOLDER}  # by users' name

TAUGHT = (
    "The landscape model's concept maps are taught, on drawn scenes whose true maps are known: they show whether "
    "everything around the model works, not whether ConceptAttention works on models that were not taught."
)
