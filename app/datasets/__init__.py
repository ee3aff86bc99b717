"""Datasets: examples, prepared once for every job."""
