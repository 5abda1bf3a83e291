"""The files that the viewer in the browser reads."""
