"""The embedded landscape model as ComfyUI's own MODEL, CLIP and VAE."""
