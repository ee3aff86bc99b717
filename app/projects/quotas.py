"""What a project may have at a time. Counted from the rows, under a lock of the project.

Two requests of one project that both count would both find room for one more: they count one after
the other. Where no limit is set nothing is counted.
"""

from typing import Final

from sqlalchemy.orm import Session

from app.errors import TooMany
from app.projects import repository
from app.projects.caller import Caller

STALE_S: Final = 10.0
"""How old the stored bytes may be that a new job, which brings none itself, is measured by."""


def room_for_jobs(session: Session, count: int = 1) -> None:
    """Raises TooMany `quota_exceeded`."""
    caller = _caller(session)
    limit = caller.max_active_jobs
    if limit is not None:
        repository.lock_project(session, caller.project_id)
        used = repository.active_jobs(session, caller.project_id)
        if used + count > limit:
            more = "" if count == 1 else f", {count:,} more do not fit"
            hint = "Wait until some have ended"
            raise _exceeded("active_jobs", f"active jobs{more}", used, limit, hint)
    allowed = caller.max_stored_bytes
    if allowed is not None:
        if caller.usage.older_than(STALE_S):
            caller.usage.note(repository.stored_bytes(session, caller.project_id))
        if caller.usage.stored_bytes > allowed:
            raise _full(caller.usage.stored_bytes, allowed)


def counts_bytes(session: Session) -> bool:
    """Whether the project's bytes are limited at all."""
    return _caller(session).max_stored_bytes is not None


def owns(session: Session, sha256: str, size: int) -> bool:
    """Whether the project has these very bytes: knowing the hash of another's gives nobody them."""
    return repository.refers_to(session, _caller(session).project_id, sha256, size)


def room_for_bytes(session: Session, sha256: str | None, size: int, *, lock: bool = False) -> None:
    """Raises TooMany `quota_exceeded`. Bytes that the project has already take no more room.

    Without a lock this is a look ahead, before anything is kept.
    """
    caller = _caller(session)
    allowed = caller.max_stored_bytes
    if allowed is None:
        return
    if lock:
        repository.lock_project(session, caller.project_id)
    used = repository.stored_bytes(session, caller.project_id)
    caller.usage.note(used)
    if used + size > allowed and not repository.refers_to(session, caller.project_id, sha256):
        raise _full(used, allowed, size)


def _caller(session: Session) -> Caller:
    caller: Caller = session.info["caller"]
    return caller


def _full(used: int, allowed: int, size: int | None = None) -> TooMany:
    more = "" if size is None else f", {size:,} more do not fit"
    return _exceeded(
        "stored_bytes", f"stored bytes{more}", used, allowed, "Delete what is not used"
    )


def _exceeded(pointer: str, what: str, used: int, allowed: int, hint: str) -> TooMany:
    detail = f"{used:,} of {allowed:,} {what}."
    return TooMany(
        "quota_exceeded",
        f"The project has {detail}",
        hint=f"{hint}, or ask for a larger quota.",
        errors=[{"pointer": f"/quota/{pointer}", "code": "quota_exceeded", "detail": detail}],
        retryable=True,
        headers={"Retry-After": "60"},
    )
