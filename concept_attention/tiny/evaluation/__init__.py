"""How well the concept maps of a model agree with the label maps of drawn landscapes."""
