"""What a person is told when something goes wrong, and the exit code that a script gets.

  0  done
  1  something else went wrong
  2  the command line, job file or checkpoint is wrong, or the service refuses what it was sent
  3  the job failed or was cancelled; the teacher or data set was rejected
  4  no key, a wrong one, or one that may not do this
  5  there is no such thing
  6  a conflict: not possible in the present state, such as of a job that has ended
  7  the service is not reached, or cannot answer now
  8  the bytes that came have another checksum
130  interrupted
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from typing import Any

from stillhouse import errors
from stillhouse.cli.plainly import plain
from stillhouse.errors import Problem, StillhouseError


class Mistaken(StillhouseError):
    """What was typed, here or into a file, is wrong."""


_CODES: tuple[tuple[tuple[type[BaseException], ...], int], ...] = (
    (
        (
            Mistaken,
            errors.NotConvertible,
            errors.BadRequest,
            errors.TooLarge,
            errors.Unprocessable,
        ),
        2,
    ),
    ((errors.JobFailed, errors.Rejected), 3),
    ((errors.Unauthorized, errors.Forbidden), 4),
    ((errors.NotFound,), 5),
    ((errors.Conflict,), 6),
    ((errors.Unreachable, errors.UnexpectedAnswer, errors.TooMany, errors.ServerFailed), 7),
    ((errors.ChecksumMismatch,), 8),
)

_NEXT: dict[str, str] = {
    "job_not_finished": "Wait for it with `stillhouse jobs watch JOB`.",
    "job_not_succeeded": "Its log tells why: `stillhouse jobs logs JOB`.",
    "quota_exceeded": "Let jobs end, or delete what is no longer needed.",
    "teacher_in_use": "Cancel or finish those jobs first.",
    "dataset_in_use": "Cancel or finish those jobs first.",
}
"""The next step after problems that only the service's code tells apart."""


def exit_code(error: BaseException) -> int:
    return next((code for kinds, code in _CODES if isinstance(error, kinds)), 1)


def shielded(run: Callable[[], None]) -> int:
    """Runs the command line; every failure becomes words and a code, never a traceback."""
    try:
        run()
    except (StillhouseError, OSError, ImportError) as error:
        if os.environ.get("STILLHOUSE_DEBUG"):
            raise
        tell(error)
        return exit_code(error)
    except Exception as error:
        if os.environ.get("STILLHOUSE_DEBUG"):
            raise
        tell(error)
        note = "This is a mistake in the client. STILLHOUSE_DEBUG=1 shows where."
        sys.stderr.write(f"            {note}\n")
        return 1
    return 0


def tell(error: BaseException) -> None:
    if "--json" in sys.argv:
        sys.stderr.write(json.dumps({"error": _document(error)}, ensure_ascii=False) + "\n")
        return
    lines = _text(error).splitlines() or [type(error).__name__]
    if step := _next(error):
        lines.append(step)
    if isinstance(error, Problem) and error.request_id:
        lines.append(f"({error.code}, request {error.request_id})")
    sys.stderr.write("stillhouse: " + "\n            ".join(lines) + "\n")


def _text(error: BaseException) -> str:
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}."
    if isinstance(error, Problem) and error.code == "validation_failed" and error.errors:
        return "\n".join(f"{one.pointer or '/'}: {plain(one)}" for one in error.errors)
    if isinstance(error, Problem) and len(error.errors) > 1:
        places = [f"  {one.pointer or '/'}: {one.detail}" for one in error.errors]
        return "\n".join([error.detail, *places])
    return str(error)


def _next(error: BaseException) -> str | None:
    if isinstance(error, Problem) and error.code in _NEXT:
        return _NEXT[error.code]
    return error.hint if isinstance(error, StillhouseError) else None


def _document(error: BaseException) -> dict[str, Any]:
    document: dict[str, Any] = {"detail": _text(error), "exit_code": exit_code(error)}
    if isinstance(error, Problem):
        document = {**error.document, **document, "status": error.status_code}
    if step := _next(error):
        document["hint"] = step
    return document
