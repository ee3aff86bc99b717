"""The client, written once; `_sync` is made of it."""
