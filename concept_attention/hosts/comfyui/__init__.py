"""Concept attention inside ComfyUI: hooks on a MODEL for the time of a sampling run."""
