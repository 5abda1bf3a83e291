"""One class per family of models in which concepts are read as keys: their text never looks at the image."""
