"""The embedded landscape model: a small Flux whose true concept maps are known.

Its concept maps are taught, by a small supervised term on drawn landscapes with exact label maps. That makes it an
instrument that shows when something between a model and its maps breaks; it is no evidence that ConceptAttention works
on models that were not taught.
"""

from pathlib import Path

MODEL_FOLDER = Path(__file__).resolve().parent / "landscape"

TAUGHT = (
    "The landscape model's concept maps are taught, on drawn scenes whose true maps are known: they show whether "
    "everything around the model works, not whether ConceptAttention works on models that were not taught."
)
