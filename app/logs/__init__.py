"""Logs: what the trainers of a job said."""
