"""Everything that can go wrong, as one tree.

StillhouseError
├── Unreachable              nobody answers at the address, or not in time, or not to the end
├── UnexpectedAnswer         something answers that is no Stillhouse, or a far newer one
├── Problem                  the service's own: code, detail, pointers, request_id, ...
│   ├── BadRequest           400
│   ├── Unauthorized         401
│   ├── Forbidden            403
│   ├── NotFound             404
│   ├── Conflict             409
│   ├── TooLarge             413
│   ├── Unprocessable        422
│   ├── TooMany              429
│   └── ServerFailed         5xx
│       ├── Unavailable      503
│       └── NoRoom           507
├── JobFailed                also a job that was cancelled
├── Rejected                 a teacher or data set that the service has checked
├── StillRunning             waited for as long as was asked
├── ChecksumMismatch         the bytes that came have another checksum
└── NotConvertible           a checkpoint that holds more than tensors
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar


class StillhouseError(Exception):
    """Its text says what is wrong; `hint`, where there is one, says what to do next."""

    hint: str | None = None


class Unreachable(StillhouseError):
    """No answer, or half of one, after every retry."""

    hint = (
        "Is it running, and is this its address? Set STILLHOUSE_URL, or log in to it with "
        "`stillhouse login --url URL`; `stillhouse doctor` looks closer."
    )


class UnexpectedAnswer(StillhouseError):
    """An answer that this client cannot read."""

    def __init__(self, url: str, what: str) -> None:
        super().__init__(f"{url} does not answer like Stillhouse: {what}.")
        self.url = url
        self.hint = "Check the address, and that a proxy in between lets answers through."


@dataclass(frozen=True)
class FieldProblem:
    """One thing wrong with a request, at one place of it."""

    pointer: str
    """JSON pointer into the body; `/query/...` and `/header/...` name what is not in it."""
    code: str
    detail: str


class Problem(StillhouseError):
    """An error that the service has told (RFC 9457)."""

    status: ClassVar[int | None] = None
    next_step: ClassVar[str | None] = None

    def __init__(
        self,
        document: Mapping[str, Any],
        *,
        status_code: int,
        retry_after: float | None = None,
    ) -> None:
        self.document = dict(document)
        """The problem as it was sent."""
        self.status_code = status_code
        self.code = str(document.get("code", f"http_{status_code}"))
        """What a program should look at."""
        self.detail = str(document.get("detail", document.get("title", "")))
        self.errors = tuple(
            FieldProblem(
                str(error.get("pointer", "")),
                str(error.get("code", "")),
                str(error.get("detail", "")),
            )
            for error in document.get("errors") or ()
        )
        self.request_id: str | None = document.get("request_id")
        self.retryable = bool(document.get("retryable", False))
        self.retry_after = retry_after
        """Seconds to wait before the next try, where the service says so."""
        self.hint = document.get("hint") or self.next_step
        super().__init__(self.detail)

    @property
    def pointers(self) -> tuple[str, ...]:
        """The places of the request that are wrong."""
        return tuple(error.pointer for error in self.errors)

    def __reduce__(self) -> tuple[Any, ...]:
        return _again, (type(self), self.document, self.status_code, self.retry_after)


def _again(
    kind: type[Problem], document: dict[str, Any], status_code: int, retry_after: float | None
) -> Problem:
    return kind(document, status_code=status_code, retry_after=retry_after)


class BadRequest(Problem):
    status = 400


class Unauthorized(Problem):
    status = 401
    next_step = (
        "Store a key of this service with `stillhouse login`, or set STILLHOUSE_KEY. Its admin "
        "makes keys with `python -m app.projects keys create NAME`."
    )


class Forbidden(Problem):
    status = 403
    next_step = "Ask an admin of the service for a key with that scope."


class NotFound(Problem):
    status = 404
    next_step = "Look at what is there with `stillhouse jobs list` (or teachers, or datasets)."


class Conflict(Problem):
    status = 409


class TooLarge(Problem):
    status = 413


class Unprocessable(Problem):
    status = 422


class TooMany(Problem):
    status = 429


class ServerFailed(Problem):
    """5xx."""

    next_step = "`stillhouse doctor` says which part is missing."


class Unavailable(ServerFailed):
    status = 503


class NoRoom(ServerFailed):
    status = 507
    next_step = "Delete what is no longer needed, or ask the operator for room."


_KINDS: dict[int | None, type[Problem]] = {
    kind.status: kind
    for kind in (
        BadRequest,
        Unauthorized,
        Forbidden,
        NotFound,
        Conflict,
        TooLarge,
        Unprocessable,
        TooMany,
        Unavailable,
        NoRoom,
    )
}


def problem(
    document: Mapping[str, Any], *, status_code: int, retry_after: float | None = None
) -> Problem:
    """The member of the tree that a problem document is."""
    kind = _KINDS.get(status_code, ServerFailed if status_code >= 500 else Problem)
    return kind(document, status_code=status_code, retry_after=retry_after)


class JobFailed(StillhouseError):
    """A job that was waited for ended without success."""

    def __init__(self, job_id: str, state: str, error: Mapping[str, Any] | None) -> None:
        reason = f": {error['detail']}" if error and error.get("detail") else ""
        super().__init__(f"The job {job_id} {_ENDED.get(state, f'ended as {state}')}{reason}")
        self.job_id = job_id
        self.state = state
        self.problem = dict(error or {})
        """The job's `error`; empty when it was cancelled."""
        self.hint = f"Its log tells more: `stillhouse jobs logs {job_id}`."


_ENDED = {"failed": "failed", "cancelled": "was cancelled"}


class Rejected(StillhouseError):
    """A teacher or data set that the service has looked at and will not take."""

    def __init__(self, resource_id: str, error: Mapping[str, Any] | None) -> None:
        self.problem = dict(error or {})
        self.resource_id = resource_id
        super().__init__(f"{resource_id} was rejected: {self.problem.get('detail', 'no reason')}")


class StillRunning(StillhouseError, TimeoutError):
    """It goes on; only the waiting has ended."""

    def __init__(self, resource_id: str, state: str, seconds: float) -> None:
        super().__init__(f"{resource_id} is still {state} after {seconds:g} s.")
        self.resource_id = resource_id


class ChecksumMismatch(StillhouseError):
    """Bytes that are not the ones announced. None of them were kept."""

    def __init__(self, what: str, expected: str, found: str) -> None:
        super().__init__(f"{what} should have the SHA-256 {expected}, and has {found}.")
        self.expected = expected
        self.found = found
        self.hint = "Nothing was kept. Try again; if it stays, something in between changes bytes."


class NotConvertible(StillhouseError):
    """A checkpoint that cannot be made into safetensors."""
