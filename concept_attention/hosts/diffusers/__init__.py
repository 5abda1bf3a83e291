"""Concept attention on diffusers pipelines, without ComfyUI."""

from .analysis import analyze
from .generation import Result, generate
from .loading import load_pipeline
from .text import EncodedConcepts, encode_concepts

__all__ = ["EncodedConcepts", "Result", "analyze", "encode_concepts", "generate", "load_pipeline"]
