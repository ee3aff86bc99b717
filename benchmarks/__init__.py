"""Measurements: side by side, on the same work, in one run, as ratios of medians."""
