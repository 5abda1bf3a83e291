"""Training the landscape model: `python -m concept_attention.tiny.training --help`."""
