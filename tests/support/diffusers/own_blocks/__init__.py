"""Families whose own blocks run on the concepts: tiny transformers, and naive twins."""
