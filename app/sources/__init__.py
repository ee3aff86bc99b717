"""Sources elsewhere: which places this service reads from, and which it never touches."""
