"""Concept attention on diffusers pipelines, without ComfyUI."""

from ..encoded import EncodedConcepts
from .analysis import analyze
from .encode import encode_concepts
from .generation import Result, generate
from .loading import load_pipeline
from .record import record

__all__ = ["EncodedConcepts", "Result", "analyze", "encode_concepts", "generate", "load_pipeline", "record"]
