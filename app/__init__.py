"""Stillhouse, the service: HTTP in, rows and messages out. No torch here."""
