"""The error tree, and its one translation into application/problem+json (RFC 9457).

Problem
├── BadRequest           400
├── Unauthorized         401
├── Forbidden            403
├── NotFound             404
├── RequestTimeout       408
├── Conflict             409
├── TooLarge             413
├── UnsupportedMedia     415
├── Unprocessable        422
├── TooMany              429
├── Unavailable          503
└── InsufficientStorage  507

`app.spec.problems.Refused` (bad bytes, found by readers) gives the same shape by itself.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

MEDIA_TYPE = "application/problem+json"

TITLES = {
    400: "Bad request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not found",
    405: "Method not allowed",
    406: "Not acceptable",
    408: "Request timeout",
    409: "Conflict",
    412: "Precondition failed",
    413: "Content too large",
    415: "Unsupported media type",
    416: "Range not satisfiable",
    422: "Unprocessable content",
    429: "Too many requests",
    431: "Request header fields too large",
    500: "Internal server error",
    503: "Service unavailable",
    507: "Insufficient storage",
}


class Problem(Exception):
    """An error that a client is told of: what is wrong, and what to do next."""

    status: ClassVar[int] = 500

    def __init__(
        self,
        code: str,
        detail: str,
        *,
        hint: str | None = None,
        errors: Sequence[Mapping[str, str]] = (),
        retryable: bool = False,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = f"{detail} {hint}" if hint else detail
        self.errors = list(errors)
        self.retryable = retryable
        self.headers = dict(headers or {})


class BadRequest(Problem):
    status = 400


class Unauthorized(Problem):
    status = 401


class Forbidden(Problem):
    status = 403


class NotFound(Problem):
    status = 404


class RequestTimeout(Problem):
    status = 408


class Conflict(Problem):
    status = 409


class TooLarge(Problem):
    status = 413


class UnsupportedMedia(Problem):
    status = 415


class Unprocessable(Problem):
    status = 422


class TooMany(Problem):
    status = 429


class Unavailable(Problem):
    status = 503


class InsufficientStorage(Problem):
    status = 507


def unprocessable(pointer: str, code: str, detail: str) -> Unprocessable:
    """One thing wrong at one place of the body."""
    return Unprocessable(
        code, detail, errors=[{"pointer": pointer, "code": code, "detail": detail}]
    )


def in_use(kind: str, row_id: str, users: Sequence[str]) -> Conflict:
    """What cannot be deleted because of the resources with these ids."""
    named = ", ".join(users[:10]) + (f" and {len(users) - 10} more" if len(users) > 10 else "")
    return Conflict(f"{kind}_in_use", f"The {kind} {row_id} is used by {named}.")


def problem_document(
    status: int,
    code: str,
    detail: str,
    *,
    errors: Sequence[Mapping[str, str]] = (),
    retryable: bool = False,
    request_id: str | None = None,
) -> dict[str, Any]:
    """The one shape of every error: a response's body, or a failed job's `error`."""
    document: dict[str, Any] = {
        "type": "about:blank",
        "title": TITLES.get(status, "Error"),
        "status": status,
        "detail": detail,
        "code": code,
        "request_id": request_id,
        "retryable": retryable,
    }
    if errors or status == 422:
        document["errors"] = list(errors)
    return document
