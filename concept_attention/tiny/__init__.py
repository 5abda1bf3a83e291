"""The embedded landscape models: the world they draw, how they are built, trained, evaluated and loaded in ComfyUI."""
