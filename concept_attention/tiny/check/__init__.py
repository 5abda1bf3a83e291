"""A check of any model on drawn scenes whose true maps are known, for `concept-attention check`."""
