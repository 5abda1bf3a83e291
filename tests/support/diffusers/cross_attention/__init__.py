"""Small random models whose concepts are read as keys, and what their attention to the text is."""
