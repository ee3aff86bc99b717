"""What every resource shares of HTTP: parsing, limits, problems, pages, idempotency, downloads."""
