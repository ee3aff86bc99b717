"""Sweeps: one job for each point of a grid, and a table that compares them."""
