"""Stillhouse, the service: HTTP in, rows and messages out. No torch here."""

__version__ = "0.1.0"
