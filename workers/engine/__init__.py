"""The training engine: torch only. No Celery, no SQL, no HTTP."""
