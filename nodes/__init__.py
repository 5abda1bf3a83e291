"""Thin ComfyUI nodes, one file per step of the graph. What they do is in `concept_attention/`."""
