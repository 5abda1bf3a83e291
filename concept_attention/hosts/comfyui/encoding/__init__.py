"""Concept words to embeddings, with ComfyUI's text encoders."""
