"""ComfyUI nodes, one file per step of the graph. They only convert and call the library in `concept_attention/`."""
