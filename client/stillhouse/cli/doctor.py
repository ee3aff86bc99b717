"""stillhouse doctor: what is wrong with a set-up, and how to mend it."""

from __future__ import annotations

import email.utils
import importlib.util
import platform
import shutil
import time
from collections.abc import Generator, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import httpx

from stillhouse import Retries, Stillhouse, __version__, config, errors
from stillhouse.cli import output

Grade = Literal["ok", "note", "wrong"]
MARKS = {"ok": "[green]✓[/]", "note": "[yellow]![/]", "wrong": "[red]✗[/]"}
SKEW_S = 60.0
LITTLE_ROOM = 1 << 30

MENDS = {
    "database": "Look at STILLHOUSE_DATABASE_URL, and whether `python -m app.migrate` has run.",
    "broker": "Look at STILLHOUSE_BROKER_URL, and whether that server runs. Jobs wait meanwhile.",
    "storage": "Look at STILLHOUSE_STORAGE_URL and its credentials, or at the disk under "
    "STILLHOUSE_HOME: full, or not writable.",
    "worker": "Start one (`stillhouse serve` and `docker compose up` do), or look at its log: "
    "it may not reach the database or the broker. Jobs wait meanwhile.",
}
"""What the operator of the service looks at."""


@dataclass(frozen=True)
class Finding:
    """One thing looked at."""

    what: str
    grade: Grade
    detail: str
    mend: str | None = None


def findings() -> Iterator[Finding]:
    """From this machine outwards; what needs a service is left out where there is none."""
    yield _client()
    yield _room()
    yield from _extras()
    try:
        found = config.read()
    except errors.StillhouseError as error:
        yield Finding("settings", "wrong", str(error), error.hint)
        return
    yield _settings(found)
    with Stillhouse(found.url, found.key, retries=Retries(attempts=1), timeout=10) as still:
        reached = yield from _address(still, found)
        if reached:
            yield _version(still)
            yield from _key(still, found)
            yield from _parts(still)


def main(*, as_json: bool) -> int:
    told = []
    for finding in findings():
        told.append(finding)
        if not as_json:
            output.console().print(f"{MARKS[finding.grade]} [bold]{finding.what}[/] ", end="")
            output.console().print(finding.detail, markup=False)
            if finding.mend:
                output.console().print(f"  {finding.mend}", style="dim", markup=False)
    wrong = [finding for finding in told if finding.grade == "wrong"]
    if as_json:
        output.emit({"well": not wrong, "findings": [asdict(finding) for finding in told]})
    elif not wrong:
        output.console().print("\nAll is well: jobs can be submitted.")
    else:
        output.console().print(f"\nTo mend: {', '.join(finding.what for finding in wrong)}.")
    return 1 if wrong else 0


def _client() -> Finding:
    return Finding("client", "ok", f"{__version__}, Python {platform.python_version()}")


def _room() -> Finding:
    free = shutil.disk_usage(Path()).free
    grade: Grade = "ok" if free >= LITTLE_ROOM else "note"
    mend = None if grade == "ok" else "A download of a large student may not fit here."
    return Finding("room", grade, f"{output.size(free)} free in {Path().absolute()}", mend)


def _extras() -> Iterator[Finding]:
    missing = [it for it in ("torch", "safetensors") if importlib.util.find_spec(it) is None]
    if missing:
        yield Finding(
            "conversion",
            "note",
            f".pt files cannot be converted here without {' and '.join(missing)}",
            "Only needed for such files: pip install './client[convert]'.",
        )
    else:
        yield Finding("conversion", "ok", ".pt files can be converted here")


def _settings(found: config.Config) -> Finding:
    where = f"{found.url} ({found.url_from})"
    key = f"a key from {found.key_from}" if found.key else "no key"
    if config.readable_by_others():
        mend = f"chmod 600 {config.path()}"
        return Finding("settings", "wrong", f"{config.path()} can be read by others", mend)
    return Finding("settings", "ok", f"{where}, {key}")


def _address(still: Stillhouse, found: config.Config) -> Generator[Finding, None, bool]:
    """Returns whether a Stillhouse answers there."""
    began = time.time()
    try:
        answer = still.request("GET", "/healthz")
        if answer.json() != {"status": "ok"}:
            raise ValueError
    except errors.Unreachable as error:
        mend = "Start it (`stillhouse serve`, `make serve`, `docker compose up`), or set "
        if found.url_from == "default":
            mend += "STILLHOUSE_URL if it runs elsewhere."
        else:
            mend += f"another address: this one comes from {found.url_from}."
        yield Finding("address", "wrong", str(error), mend)
        return False
    except (errors.StillhouseError, ValueError):
        detail = f"something answers at {found.url}, but no Stillhouse"
        yield Finding("address", "wrong", detail, "Look at the address and port.")
        return False
    took = time.time() - began
    yield Finding("address", "ok", f"{found.url} answers in {took * 1000:.0f} ms")
    yield _clock(answer, began + took / 2)
    return True


def _clock(answer: httpx.Response, here: float) -> Finding:
    try:
        there = email.utils.parsedate_to_datetime(answer.headers["date"]).timestamp()
    except (KeyError, ValueError):
        return Finding("clock", "note", "the service does not tell the time")
    apart = here - there
    if abs(apart) < SKEW_S:
        return Finding("clock", "ok", "agrees with the service's")
    way = "ahead of" if apart > 0 else "behind"
    detail = f"{output.lasting(abs(apart))} {way} the service's"
    return Finding("clock", "wrong", detail, "Set one of them right (NTP): links expire by it.")


def _version(still: Stillhouse) -> Finding:
    try:
        there = str(still.openapi()["info"]["version"])
    except (errors.StillhouseError, KeyError, TypeError) as error:
        return Finding("version", "wrong", f"the service does not tell its own: {error}")
    if there.split(".")[:2] == __version__.split(".")[:2]:
        return Finding("version", "ok", f"the service is {there}")
    mend = "Most things work all the same; install the client of that version if some do not."
    return Finding("version", "note", f"the service is {there}, this client {__version__}", mend)


def _key(still: Stillhouse, found: config.Config) -> Iterator[Finding]:
    try:
        next(still.jobs.list(page_size=1), None)
    except errors.StillhouseError as error:
        yield Finding("key", "wrong", str(error), error.hint)
        return
    try:
        still.request("POST", "/jobs", json={}, params={"validate_only": "true"})
    except errors.Forbidden as error:
        detail = f"it may read, and not submit: {error}"
        yield Finding("key", "note", detail, error.hint)
    except errors.StillhouseError:
        yield Finding("key", "ok", "accepted" if found.key else "none is asked for")


def _parts(still: Stillhouse) -> Iterator[Finding]:
    missing = {}
    try:
        still.ready()
    except errors.Problem as problem:
        missing = {one.pointer.rpartition("/")[2]: one.detail for one in problem.errors}
        if not missing:
            yield Finding("service", "wrong", str(problem), problem.hint)
    except errors.StillhouseError as error:
        yield Finding("service", "wrong", str(error), error.hint)
        return
    for part in [*MENDS, *(part for part in missing if part not in MENDS)]:
        if part in missing:
            yield Finding(part, "wrong", missing[part], MENDS.get(part))
        else:
            yield Finding(part, "ok", "there")
