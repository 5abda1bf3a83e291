"""The landscape world: what is in it, how scenes are laid out, painted and captioned, with exact label maps."""
