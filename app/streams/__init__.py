"""Streams: what happens to a job, told as it happens (server-sent events)."""
