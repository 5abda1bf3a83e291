"""Data sets of pictures with label maps: one file per format."""
