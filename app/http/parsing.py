"""JSON bodies, read strictly.

Python's parser takes NaN, lone surrogates and a recursion that ends the process; PostgreSQL takes
no NUL. All of that is refused here, before any schema sees it.
"""

import json
import math
from collections.abc import Callable, Collection, Coroutine, Iterator, Sequence
from email.message import Message
from functools import lru_cache
from typing import Any

from fastapi import Request, Response
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from pydantic_core import from_json
from starlette.routing import Match
from starlette.types import Receive, Scope, Send

from app.errors import BadRequest, Unprocessable, UnsupportedMedia

_SURROGATES = ("hex escape", "surrogate")


class StrictRoute(APIRoute):
    """A route whose JSON body is parsed by `parse_json`. Every router of the service uses it.

    Whoever answers GET answers HEAD too, with the same headers (RFC 9110, section 9.3.2).
    """

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        return super().matches(self._as_get(scope))

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._as_get(scope) is not scope:
            # Past the check of the method, with a scope that still says HEAD: what is asked stays
            # visible to the endpoint, and the server sends no body.
            await self.app(scope, receive, send)
        else:
            await super().handle(scope, receive, send)

    def _as_get(self, scope: Scope) -> Scope:
        methods = self.methods or ()
        if scope.get("method") == "HEAD" and "GET" in methods and "HEAD" not in methods:
            return {**scope, "method": "GET"}
        return scope

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()
        takes_json = self.body_field is not None
        known = frozenset(_query_parameters(self.dependant))

        async def strict(request: Request) -> Response:
            request = StrictRequest(request.scope, request.receive)
            if unknown := [name for name in request.query_params if name not in known]:
                raise _unknown_parameters(unknown, known)
            # Here, not where FastAPI would call it: that turns every error into one plain 400.
            if takes_json and await request.body():
                _must_be_json(request.headers.get("content-type", ""))
                await request.json()
            response = await handle(request)
            return _without_body(response) if request.method == "HEAD" else response

        return strict


def _without_body(response: Response) -> Response:
    """Its status and headers, Content-Length among them where it is known."""
    bare = Response(status_code=response.status_code)
    bare.raw_headers = response.raw_headers
    return bare


class StrictRequest(Request):
    """Remembers the parsed body, as Starlette's does."""

    async def json(self) -> Any:
        if not hasattr(self, "_json"):
            self._json = parse_json(await self.body())
        return self._json


def parse_json(data: bytes) -> Any:
    """Raises BadRequest for what is not JSON, Unprocessable for what no field may hold."""
    try:
        value = from_json(data)
    except ValueError as error:
        reason = str(error)
        if "recursion limit" in reason:
            raise BadRequest("json_too_deep", "The JSON is nested too deeply.") from None
        if any(word in reason for word in _SURROGATES):
            raise _unacceptable("", "lone_surrogate", f"A lone surrogate: {reason}.") from None
        raise BadRequest("malformed_json", f"The body is not JSON: {reason}.") from None
    for pointer, code, detail in _flaws(value, ""):
        raise _unacceptable(pointer, code, detail)
    _refuse_duplicates(data)
    return value


def _flaws(value: Any, pointer: str) -> Iterator[tuple[str, str, str]]:
    match value:
        case float() if not math.isfinite(value):
            yield pointer, "not_finite", "NaN, infinity and numbers out of range are not accepted."
        case str() if "\x00" in value:
            yield pointer, "nul_character", "NUL characters are not accepted."
        case dict():
            for key, member in value.items():
                yield from _flaws(key, pointer)
                yield from _flaws(member, f"{pointer}/{escape_pointer(key)}")
        case list():
            for index, member in enumerate(value):
                yield from _flaws(member, f"{pointer}/{index}")


class _Twice(dict[str, Any]):
    """An object in which a key stands twice."""

    key: str


def _refuse_duplicates(data: bytes) -> None:
    """Two parsers may take two different values of the same key. The fast parser keeps the last and
    says nothing, so this one looks again."""
    twice: list[_Twice] = []

    def kept(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) == len(pairs):
            return found
        twice.append(_Twice(found))
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                twice[-1].key = name
                break
            seen.add(name)
        return twice[-1]

    # Numbers are left as they are spelled: some are too long for Python's own.
    value = json.loads(data.decode(), object_pairs_hook=kept, parse_int=str)
    if twice:
        pointer, key = next(_duplicates(value, ""), ("", twice[0].key))
        detail = f"The key {key[:100]!r} stands twice in one object."
        raise _unacceptable(f"{pointer}/{escape_pointer(key)}", "duplicate_key", detail)


def _duplicates(value: Any, pointer: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, _Twice):
        yield pointer, value.key
    members = value.items() if isinstance(value, dict) else ()
    for step, member in enumerate(value) if isinstance(value, list) else members:
        yield from _duplicates(member, f"{pointer}/{escape_pointer(str(step))}")


def escape_pointer(key: str) -> str:
    """One step of a JSON pointer (RFC 6901)."""
    return key.replace("~", "~0").replace("/", "~1")


def _unacceptable(pointer: str, code: str, detail: str) -> Unprocessable:
    errors = [{"pointer": pointer, "code": code, "detail": detail}]
    return Unprocessable(code, detail, errors=errors)


def _query_parameters(dependant: Dependant) -> Iterator[str]:
    """The names that an endpoint and all that it depends on take from the query."""
    for field in dependant.query_params:
        yield field.alias
    for other in dependant.dependencies:
        yield from _query_parameters(other)


def _unknown_parameters(unknown: Sequence[str], known: Collection[str]) -> Unprocessable:
    """A misspelt filter must not look like one that matched everything."""
    names = ", ".join(sorted(known))
    hint = f"There are: {names}." if names else "There are none here."
    errors = [
        {
            "pointer": f"/query/{escape_pointer(name[:100])}",
            "code": "unknown_parameter",
            "detail": f"There is no query parameter {name[:100]!a}. {hint}",
        }
        for name in unknown[:20]
    ]
    return Unprocessable("unknown_parameter", errors[0]["detail"], errors=errors)


@lru_cache(64)
def _is_json(content_type: str) -> bool:
    message = Message()
    message["content-type"] = content_type
    kind = message.get_content_type()
    return kind == "application/json" or (
        kind.startswith("application/") and kind.endswith("+json")
    )


def _must_be_json(content_type: str) -> None:
    if not _is_json(content_type):
        raise UnsupportedMedia(
            "not_json",
            f"This takes application/json, not {content_type or 'a body without Content-Type'}.",
        )
