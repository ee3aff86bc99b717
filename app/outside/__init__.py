"""What lies outside: uris with a single reading, and addresses that are nobody's inside."""
