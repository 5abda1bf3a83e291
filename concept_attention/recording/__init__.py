"""A recording: scores of every concept at every image token, per step and layer; and its file."""
