"""Projects and their API keys: who may ask, for what, how often, and what was done."""
