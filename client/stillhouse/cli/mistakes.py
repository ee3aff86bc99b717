"""The service's complaints about a job, in the words and at the places of the file it came from."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from stillhouse import Stillhouse, errors
from stillhouse.cli.jobfile import FileMistaken, JobFile, Mistake, Steps, steps_of
from stillhouse.cli.plainly import UNKNOWN_FIELD, plain

_SCHEMAS = "#/components/schemas/"


def explained(
    still: Stillhouse,
    file: JobFile,
    problem: errors.Problem,
    body: Any,
    schema: str,
    *,
    placed: Callable[[Steps], Steps] = lambda steps: steps,
    awaited: Callable[[Steps], bool] = lambda _: False,
) -> FileMistaken | None:
    """None where nothing is wrong but ids that are `awaited`. `placed` says where in the file a
    place of the body stands."""
    told = problem.errors or (errors.FieldProblem("", problem.code, problem.detail),)
    wrong = [
        one
        for one in told
        if not (one.code.startswith("unknown_") and awaited(steps_of(one.pointer)))
    ]
    if not wrong:
        return None
    names = _Names(still, schema)
    mistakes = []
    for one in wrong:
        steps = steps_of(one.pointer)
        if one.code == UNKNOWN_FIELD and steps:
            detail = _nearest(str(steps[-1]), names.at(steps[:-1], body))
        else:
            detail = plain(one)
        mistakes.append(Mistake(placed(steps), detail))
    return FileMistaken(file, mistakes)


def _nearest(name: str, fields: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, fields, n=1, cutoff=0.6)
    if close:
        return f"there is no such field. Did you mean {close[0]}?"
    if fields:
        return f"there is no such field. There are {', '.join(fields)}."
    return "there is no such field."


class _Names:
    """The fields that the service knows, read from its own description when first needed."""

    def __init__(self, still: Stillhouse, schema: str) -> None:
        self._still = still
        self._schema = {"$ref": _SCHEMAS + schema}
        self._schemas: dict[str, Any] | None = None

    def at(self, steps: Steps, body: Any) -> list[str]:
        """At a place of a body; none where the description does not say."""
        if self._schemas is None:
            try:
                self._schemas = self._still.openapi()["components"]["schemas"]
            except (errors.StillhouseError, KeyError):
                self._schemas = {}
        found = [self._schema]
        for step in steps:
            found = [self._chosen(one, body) for one in found]
            body = _inner(body, step)
            found = [inner for one in found for inner in self._below(one, step)]
        chosen = [self._chosen(one, body) for one in found]
        return list(dict.fromkeys(name for one in chosen for name in one.get("properties", ())))

    def _chosen(self, schema: dict[str, Any], body: Any) -> dict[str, Any]:
        """A schema without references; of a union, the members that the body may mean."""
        while "$ref" in schema:
            name = schema["$ref"].removeprefix(_SCHEMAS)
            schema = (self._schemas or {}).get(name, {})
        if not (members := schema.get("oneOf") or schema.get("anyOf")):
            return schema
        discriminator = schema.get("discriminator", {})
        if isinstance(body, dict) and discriminator:
            tag = body.get(discriminator["propertyName"])
            if tag is None:
                tag = schema.get("default", {}).get(discriminator["propertyName"])
            if (target := discriminator.get("mapping", {}).get(tag)) is not None:
                return self._chosen({"$ref": target}, body)
        merged: dict[str, Any] = {}
        for member in members:
            merged |= self._chosen(member, body).get("properties", {})
        return {"properties": merged}

    def _below(self, schema: dict[str, Any], step: str | int) -> Iterator[dict[str, Any]]:
        if isinstance(step, int) and "items" in schema:
            yield schema["items"]
        elif step in schema.get("properties", {}):
            yield schema["properties"][step]


def _inner(body: Any, step: str | int) -> Any:
    try:
        return body[step]
    except (KeyError, IndexError, TypeError):
        return None
