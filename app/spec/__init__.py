"""What a client may ask for. One definition serves validation, OpenAPI, the row and the worker."""
