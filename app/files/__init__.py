"""Files: bytes in, and the same bytes out again."""
