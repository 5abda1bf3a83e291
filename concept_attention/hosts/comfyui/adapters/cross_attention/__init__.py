"""Families with cross-attention, one adapter class each."""
