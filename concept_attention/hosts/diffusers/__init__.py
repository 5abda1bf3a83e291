"""Concept attention on diffusers pipelines, without ComfyUI."""

from ..encoded import EncodedConcepts
from .analysis import analyze
from .generation import Result, generate
from .loading import load_pipeline
from .text import encode_concepts

__all__ = ["EncodedConcepts", "Result", "analyze", "encode_concepts", "generate", "load_pipeline"]
