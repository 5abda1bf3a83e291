"""Measurements of what is claimed about the library; see README.md."""

import os

os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")  # read when transformers is imported
