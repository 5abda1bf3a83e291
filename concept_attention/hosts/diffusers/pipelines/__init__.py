"""How diffusers' pipelines are run: one class per family."""
