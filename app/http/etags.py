"""Conditional requests (RFC 9110, section 13)."""

from fastapi import Request


def matches(request: Request, etag: str) -> bool:
    """Whether the client says that it has this very content already."""
    header = request.headers.get("if-none-match")
    if header is None:
        return False
    return any(
        candidate.strip().removeprefix("W/") in ("*", etag) for candidate in header.split(",")
    )
