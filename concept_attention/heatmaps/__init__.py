"""From a recording to heatmaps, and from heatmaps to masks and figures in numbers."""
