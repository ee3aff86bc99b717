"""Jobs: what is distilled, from whom, on what."""
