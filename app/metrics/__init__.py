"""Metrics: the curves of a job, written by workers and sampled for charts."""
