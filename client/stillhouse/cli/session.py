"""A client for one command, and the things that its arguments name."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice

from stillhouse import Job, Retries, Stillhouse, errors

RETRIES = Retries(attempts=4)
"""A person waits: two seconds until somebody who does not answer is not there."""

MOST_LOOKED_AT = 1000
"""Jobs in which a name is looked for, newest first."""


@contextmanager
def connected() -> Iterator[Stillhouse]:
    with Stillhouse(retries=RETRIES) as still:
        yield still


def job_of(still: Stillhouse, named: str) -> Job:
    """By id; by name, the newest of it; `last` is the newest of all. Raises NotFound."""
    if re.fullmatch(r"job_[0-9a-z]{1,40}", named):
        try:
            return still.jobs.get(named)
        except errors.NotFound as error:
            raise missing("job", f"There is no job {named}.", error) from None
    for job in islice(still.jobs.list(page_size=1 if named == "last" else 200), MOST_LOOKED_AT):
        if named in ("last", job.name):
            return job
    raise missing("job", f"There is no job with the id or name {named!r}.")


def missing(kind: str, text: str, error: errors.NotFound | None = None) -> errors.NotFound:
    """A plain 404 knows only that nothing is at an address: this says of what kind."""
    known = error.document if error is not None else {}
    document = {**known, "detail": text, "code": f"{kind}_not_found"}
    document["hint"] = f"`stillhouse {kind}s list` shows what is there."
    return errors.NotFound(document, status_code=404)
