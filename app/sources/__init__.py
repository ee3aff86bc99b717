"""Sources elsewhere: which addresses this service reads from, and which it never touches."""
