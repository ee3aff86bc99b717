"""The dashboard: a page that asks the API as any other client does."""
