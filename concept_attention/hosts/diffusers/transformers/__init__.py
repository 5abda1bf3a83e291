"""Joint blocks of diffusers' transformers: one adapter class per architecture family."""
