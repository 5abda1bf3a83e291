"""Joint blocks of diffusers' transformers, one module per architecture family."""
