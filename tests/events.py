"""Server-sent events, read as a browser reads them (WHATWG HTML, section 9.2.6)."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Event:
    name: str
    number: int
    data: Any


def events_of(lines: Iterable[str]) -> Iterator[Event]:
    """The events among lines that came without their ends; comments are passed over."""
    fields: dict[str, str] = {}
    for line in lines:
        if line:
            name, _, value = line.partition(":")
            fields[name] = value.removeprefix(" ")
        elif "data" in fields:
            yield Event(fields["event"], int(fields["id"]), json.loads(fields["data"]))
            fields = {}


@dataclass
class Follower:
    """What a client knows that applies each event to what it had before."""

    last: int = 0
    curves: dict[tuple[str, int], float | None] = field(default_factory=dict)
    states: list[str] = field(default_factory=list)
    progress: Any = None
    done: Any = None
    heard: list[tuple[str, int, float | None]] = field(default_factory=list)
    """Every point, as often as it came."""

    def take(self, event: Event) -> None:
        assert event.number >= self.last, "numbers rise"
        self.last = event.number
        match event.name:
            case "metrics":
                for one in event.data["series"]:
                    for step, value in zip(one["step"], one["value"], strict=True):
                        self.curves[one["key"], step] = value
                        self.heard.append((one["key"], step, value))
            case "state":
                self.states.append(event.data["to_state"])
                if (kept := event.data["kept_step"]) is not None:
                    self.curves = {at: v for at, v in self.curves.items() if at[1] <= kept}
            case "progress":
                self.progress = event.data
            case "done":
                assert self.done is None
                self.done = event.data
            case other:
                raise AssertionError(other)
