"""Artifacts: students, reports and whatever else jobs made."""
