"""What is claimed about the library, measured: see README.md."""

import os

os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")  # read when transformers is imported: no advice among numbers
