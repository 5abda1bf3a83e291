"""Heatmaps of recordings, and the masks and summaries of heatmaps."""
