"""Job files: YAML (or JSON) that remembers where each of its fields stands."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from stillhouse.cli.failures import Mistaken

Steps = tuple[str | int, ...]
Place = tuple[int, int]
"""Line and column, from 1."""


@dataclass(frozen=True)
class Mistake:
    """One thing wrong, at one place of the file."""

    steps: Steps
    detail: str


class FileMistaken(Mistaken):
    """Mistakes, shown under the lines they are in, in the order of these."""

    def __init__(self, file: JobFile, mistakes: Iterable[Mistake]) -> None:
        self.mistakes = sorted(dict.fromkeys(mistakes), key=file.order)
        super().__init__("\n".join(file.shown(mistake) for mistake in self.mistakes))


@dataclass
class JobFile:
    """What a file says, and where."""

    path: Path
    lines: list[str]
    document: dict[str, Any]
    typed: set[Steps] = field(default_factory=set)
    """Fields that the command line has set."""
    _places: dict[Steps, Place] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> JobFile:
        """Raises Mistaken where it cannot be read, is no YAML, or no mapping of fields."""
        try:
            text = path.read_text()
        except UnicodeDecodeError:
            raise Mistaken(f"{path}: this is no text file.") from None
        except OSError as error:
            absent = Mistaken(f"{path}: {error.strerror}.")
            if isinstance(error, FileNotFoundError):
                absent.hint = f"`stillhouse init {path}` writes a job file."
            raise absent from None
        lines = text.splitlines()
        try:
            tree = YAML(pure=True).load(text)
        except MarkedYAMLError as error:
            raise Mistaken(_no_yaml(path, lines, error)) from None
        except (YAMLError, ValueError) as error:
            raise Mistaken(f"{path}: {error}") from None
        if not isinstance(tree, CommentedMap):
            raise Mistaken(f"{path}: this should be the fields of a job, such as `dataset: ...`.")
        places = dict(_places(tree, ()))
        for (*_, key), (line, column) in places.items():
            if isinstance(key, float):  # 0. and 0.0 would be the same
                head = f"{path}:{line}:{column}: a name that looks like a number must be in quotes."
                raise Mistaken(f"{head}\n{_pointed(lines, line, column)}")
        return cls(path, lines, _plain(tree), _places=places)

    def where(self, steps: Steps) -> Place:
        """Of a field, else of what it would stand in."""
        while steps and steps not in self._places:
            steps = steps[:-1]
        return self._places.get(steps, (1, 1))

    def order(self, mistake: Mistake) -> tuple[bool, Place]:
        """From top to bottom, and after that what the command line has set."""
        return self.is_typed(mistake.steps), self.where(mistake.steps)

    def is_typed(self, steps: Steps) -> bool:
        return any(steps[: len(typed)] == typed for typed in self.typed)

    def shown(self, mistake: Mistake) -> str:
        line, column = self.where(mistake.steps)
        name = ".".join(str(step) for step in mistake.steps)
        if self.is_typed(mistake.steps):
            return f"{name}: {mistake.detail} (given on the command line)"
        head = f"{self.path}:{line}:{column}: {f'{name}: ' if name else ''}{mistake.detail}"
        if not (mistake.steps and 0 < line <= len(self.lines)):
            return head
        return head + "\n" + _pointed(self.lines, line, column)

    def put(self, changes: Mapping[str, Any]) -> None:
        """Sets fields from the command line, by dotted names."""
        put(self.document, changes)
        self.typed |= {tuple(name.split(".")) for name in changes}

    def beside(self, name: str) -> Path:
        """A path in the file is meant from where the file lies."""
        return self.path.parent / Path(name).expanduser()


def put(document: dict[str, Any], changes: Mapping[str, Any]) -> None:
    """Sets fields by dotted names."""
    for name, value in changes.items():
        *parents, last = name.split(".")
        here = document
        for step in parents:
            inner = here.get(step)
            if not isinstance(inner, dict):
                inner = here[step] = {}
            here = inner
        here[last] = value


def parsed(text: str) -> Any:
    """A value as a job file would have it. Raises Mistaken."""
    try:
        return _plain(YAML(pure=True).load(text))
    except (YAMLError, ValueError) as error:
        reason = getattr(error, "problem", None) or error
        raise Mistaken(f"{text!r} is neither YAML nor JSON: {reason}.") from None


def steps_of(pointer: str) -> Steps:
    """Of a JSON pointer."""
    steps = (one.replace("~1", "/").replace("~0", "~") for one in pointer.split("/")[1:])
    return tuple(int(step) if step.isdigit() else step for step in steps)


def _no_yaml(path: Path, lines: list[str], error: MarkedYAMLError) -> str:
    mark = error.problem_mark or error.context_mark
    what = error.problem or error.context or "this is no YAML"
    if mark is None:
        return f"{path}: {what}."
    head = f"{path}:{mark.line + 1}:{mark.column + 1}: {what}."
    return f"{head}\n{_pointed(lines, mark.line + 1, mark.column + 1)}"


def _pointed(lines: list[str], line: int, column: int) -> str:
    text = lines[line - 1] if line <= len(lines) else ""
    return f"{line:>5} | {text}\n      | {' ' * (column - 1)}^"


def _places(node: Any, steps: Steps) -> Iterator[tuple[Steps, Place]]:
    """Of every key and item below a node. Keys that are numbers are looked up as such."""
    if isinstance(node, CommentedMap):
        for key, value in node.items():
            line, column = node.lc.key(key)
            yield (*steps, key), (line + 1, column + 1)
            yield from _places(value, (*steps, key))
    elif isinstance(node, CommentedSeq):
        for index, value in enumerate(node):
            line, column = node.lc.item(index)
            yield (*steps, index), (line + 1, column + 1)
            yield from _places(value, (*steps, index))


def _plain(node: Any) -> Any:
    """Without ruamel's own types, which carry comments and spelling."""
    match node:
        case dict():
            return {str(key): _plain(value) for key, value in node.items()}
        case list():
            return [_plain(item) for item in node]
        case bool():
            return bool(node)
        case int():
            return int(node)
        case float():
            return float(node)
        case str() | None:
            return None if node is None else str(node)
    return str(node)  # a date, which YAML knows and JSON does not
