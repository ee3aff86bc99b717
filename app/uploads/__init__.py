"""Uploads: files that come in parts, and go on after a failure."""
