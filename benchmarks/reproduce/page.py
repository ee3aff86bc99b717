"""docs/results.md and its picture: the words of page.md, the figures of docs/results.json."""

from pathlib import Path

from benchmarks.reproduce import cifar, hinton, methods, picture, tables
from benchmarks.reproduce.records import Records, current
from benchmarks.reproduce.runs import Book

WORDS = Path(__file__).with_name("page.md")
PICTURE = "results-temperature.svg"
PLACES = (
    "sources",
    "classic",
    "budget",
    "candidates",
    "chosen",
    "search",
    "small",
    "deprived",
    "few",
    "methods",
    "grid",
    "cifar100",
)
"""What page.md leaves open: each a function of tables.py."""


def every_scale(records: Records) -> Book:
    """All parts, and part c at each scale that has a record."""
    scales = {name.split("/")[0].partition("@")[2] for name in records if name[0] == "c"} | {""}
    parts = [cifar.runs(float(scale or 1)) for scale in sorted(scales)]
    return Book.of(hinton.runs(), methods.runs(), *parts)


def render(records: Records) -> dict[str, str]:
    """File name -> content."""
    valid = current(records, every_scale(records))
    text = WORDS.read_text()
    for name in PLACES:
        place = "{{" + name + "}}"
        if text.count(place) != 1:
            raise ValueError(f"{WORDS.name} should say {place} once")
        text = text.replace(place, getattr(tables, name)(valid))
    return {"results.md": text, PICTURE: picture.over_temperature(valid)}


def write(records: Records, folder: Path) -> None:
    """Writes what the records say into a folder."""
    for name, content in render(records).items():
        (folder / name).write_text(content)
