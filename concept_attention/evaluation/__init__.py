"""How well maps agree with label maps."""
