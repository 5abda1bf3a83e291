"""One sampling run in ComfyUI: from a guider's call to the recording."""
