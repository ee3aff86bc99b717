"""Words and tables for people on a terminal, JSON for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import islice
from typing import Any, TypeVar

from pydantic import BaseModel
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Table

Item = TypeVar("Item")
MOST_IN_PAGE = 200

STATES = {
    "ready": "green",
    "succeeded": "green",
    "running": "cyan",
    "failed": "red",
    "rejected": "red",
    "cancelled": "yellow",
    "paused": "yellow",
}


def console() -> Console:
    """For results. What goes into a pipe is not cut to some width."""
    if sys.stdout.isatty():
        return Console(highlight=False)
    return Console(highlight=False, width=200)


def aside() -> Console:
    """For what happens meanwhile: it must not get into a pipe."""
    return Console(stderr=True, highlight=False)


def emit(document: Any) -> None:
    """JSON, on standard output."""
    text = json.dumps(_plain(document), indent=2, ensure_ascii=False, default=str)
    sys.stdout.write(text + "\n")


def line(document: Any) -> None:
    """One line of JSON."""
    sys.stdout.write(json.dumps(_plain(document), ensure_ascii=False, default=str) + "\n")
    sys.stdout.flush()


def newest(listed: Callable[..., Iterable[Item]], limit: int, everything: bool) -> list[Item]:
    """The first of what `listed(page_size=...)` lists, newest first. Where it goes on, that is said
    beside it."""
    page = MOST_IN_PAGE if everything else min(limit + 1, MOST_IN_PAGE)
    found = list(islice(listed(page_size=page), None if everything else limit + 1))
    if everything or len(found) <= limit:
        return found
    aside().print(f"{limit} newest; --limit N or --all for more", style="dim")
    return found[:limit]


def deleted(resource_id: str, *, as_json: bool) -> None:
    if as_json:
        line({"deleted": resource_id})
    else:
        aside().print(f"deleted {resource_id}")


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    shown = Table(box=None, pad_edge=False, header_style="dim", show_edge=False)
    for column in columns:
        right = column.startswith(">")
        shown.add_column(
            column.removeprefix(">"),
            justify="right" if right else "left",
            overflow="fold",
            no_wrap=column == "id",
        )
    for row in rows:
        shown.add_row(*(_cell(value) for value in row))
    console().print(shown)


def fields(values: Mapping[str, Any]) -> None:
    """A name and a value a line."""
    shown = Table(box=None, pad_edge=False, show_header=False)
    shown.add_column(style="dim", no_wrap=True)
    shown.add_column(overflow="fold")
    for name, value in values.items():
        if value is not None and value != {} and value != []:
            shown.add_row(name, _cell(value))
    console().print(shown)


@contextmanager
def busy(text: str) -> Iterator[None]:
    """Says what is waited for, while it is, where somebody looks."""
    console = aside()
    if not console.is_terminal:
        yield
        return
    with console.status(text):
        yield


def transfer(what: str) -> Progress:
    """A bar for bytes on their way, gone when they are there."""
    console = aside()
    return Progress(
        TextColumn(escape(what)),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )


def state(value: str) -> str:
    style = STATES.get(value)
    return f"[{style}]{value}[/]" if style else value


def when(value: datetime | None) -> str:
    """As long ago as a person would say."""
    if value is None:
        return ""
    seconds = (datetime.now(UTC) - value).total_seconds()
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit} ago"
    return f"{max(seconds, 0):.0f} s ago"


def lasting(seconds: float | None) -> str:
    if seconds is None:
        return "?"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def size(count: float | None) -> str:
    if count is None:
        return ""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:,.0f} {unit}" if unit == "B" else f"{count:,.1f} {unit}"
        count /= 1024
    return f"{count:,.1f} TiB"


def _cell(value: Any) -> Any:
    if value is None:
        return ""
    if isinstance(value, Marked):
        return str(value)
    if isinstance(value, dict | list):
        return escape(json.dumps(value, ensure_ascii=False))
    return escape(str(value)) if isinstance(value, str | int | float) else value


def named(value: Any, by: str) -> Any:
    """A method or a network in words: its name, and what is said of it."""
    if not isinstance(value, Mapping) or by not in value:
        return value
    rest = [f"{name} {_short(it)}" for name, it in value.items() if name != by and it is not None]
    return f"{value[by]} ({', '.join(rest)})" if rest else str(value[by])


def _short(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


class Marked(str):
    """Text with Rich's own markup in it."""

    __slots__ = ()


def _plain(document: Any) -> Any:
    if isinstance(document, BaseModel):
        return document.model_dump(mode="json", by_alias=True)
    if isinstance(document, list | tuple):
        return [_plain(item) for item in document]
    if isinstance(document, dict):
        return {key: _plain(value) for key, value in document.items()}
    return document
