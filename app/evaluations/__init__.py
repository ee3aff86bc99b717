"""Evaluations: how good a network is on a dataset, before a job is spent on it."""
