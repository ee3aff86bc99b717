"""Every error a client can meet, as application/problem+json."""

from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Any

import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from pydantic_core import to_json
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import Match

from app.errors import MEDIA_TYPE, Problem, problem_document
from app.http.parsing import escape_pointer
from app.spec.problems import Refused
from app.storage import StorageAway

log = structlog.get_logger()

WRONG_KINDS = {"float_type", "model_attributes_type", "model_type"}
"""What the other members of a union of a number and an object say."""
METHODS = ("DELETE", "GET", "HEAD", "PATCH", "POST", "PUT")
HTTP_CODES = {404: "not_found", 405: "method_not_allowed"}


class FieldProblem(BaseModel):
    """One thing wrong with a request."""

    pointer: str
    """JSON pointer into the body; `/query/...` and `/header/...` name what is not in the body."""
    code: str
    detail: str


class ProblemOut(BaseModel):
    """An error (RFC 9457)."""

    model_config = {
        "title": "Problem",
        "use_attribute_docstrings": True,
        "json_schema_extra": {
            "examples": [
                {
                    "type": "about:blank",
                    "title": "Unprocessable content",
                    "status": 422,
                    "detail": "There is no teacher tch_06a1.",
                    "code": "unknown_teacher",
                    "request_id": "req_5f0c2b7e9a31",
                    "retryable": False,
                    "errors": [
                        {
                            "pointer": "/teachers/0",
                            "code": "unknown_teacher",
                            "detail": "There is no teacher tch_06a1.",
                        }
                    ],
                }
            ]
        },
    }

    type: str
    title: str
    status: int
    detail: str
    code: str
    """What a program should look at."""
    request_id: str | None
    retryable: bool
    """Whether the same request may succeed later."""
    errors: list[FieldProblem] | None = None


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Declares in OpenAPI the problems that an operation answers with."""
    schema = {"$ref": "#/components/schemas/Problem"}
    return {
        status: {
            "description": HTTPStatus(status).phrase,
            "content": {MEDIA_TYPE: {"schema": schema}},
        }
        for status in statuses
    }


def problem_response(problem: Problem, request_id: str | None) -> Response:
    document = problem_document(
        problem.status,
        problem.code,
        problem.detail,
        errors=problem.errors,
        retryable=problem.retryable,
        request_id=request_id,
    )
    return _response(document, problem.headers)


def install(app: FastAPI) -> None:
    """Replaces FastAPI's own answers, which differ in shape and echo what was sent."""
    app.add_exception_handler(Problem, _on_problem)
    app.add_exception_handler(Refused, _on_refused)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(HTTPException, _on_http)
    app.add_exception_handler(ClientDisconnect, _on_disconnect)
    app.add_exception_handler(StorageAway, _on_storage)
    for error in (OperationalError, InterfaceError, PoolTimeout):
        app.add_exception_handler(error, _on_database)
    app.add_exception_handler(Exception, _on_anything)


async def _on_problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)  # noqa: S101  (as registered)
    return problem_response(error, _id(request))


async def _on_refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)  # noqa: S101
    return _response({**error.as_problem(), "request_id": _id(request)})


async def _on_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101
    code = HTTP_CODES.get(error.status_code, "http_error")
    detail = {
        404: "There is nothing at this address.",
        405: f"This address takes no {request.method}.",
    }.get(error.status_code, str(error.detail))
    document = problem_document(error.status_code, code, detail, request_id=_id(request))
    headers = dict(error.headers or {})
    if error.status_code == 405:  # Starlette names the methods of the first route that it met
        headers["Allow"] = ", ".join(method for method in METHODS if _takes(request, method))
    return _response(document, headers)


def _takes(request: Request, method: str) -> bool:
    """Whether some route takes this method at the request's address."""
    scope = {**request.scope, "method": method}
    return any(route.matches(scope)[0] == Match.FULL for route in request.app.routes)


async def _on_disconnect(_request: Request, _error: Exception) -> Response:
    # Nobody reads this; without it the server's log would take it for an error of ours.
    return Response(status_code=400)


async def _on_invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101
    found = error.errors()
    if any(item["loc"][0] == "path" for item in found):
        document = problem_document(
            404, "not_found", "There is nothing at this address.", request_id=_id(request)
        )
        return _response(document)
    errors = field_problems(found, error.body)
    first = errors[0]
    where = f"{first['pointer']}: " if first["pointer"] else ""
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    document = problem_document(
        422,
        "validation_failed",
        f"{where}{first['detail']}{more}",
        errors=errors,
        request_id=_id(request),
    )
    return _response(document)


def field_problems(found: Iterable[Mapping[str, Any]], body: Any) -> list[dict[str, str]]:
    """Pydantic's errors, whose places begin with where the body is, with pointers into the body."""
    return _without_echoes([_field_problem(item, body) for item in found])


async def _on_database(request: Request, error: Exception) -> Response:
    log.warning("database_unavailable", error=str(error))
    document = problem_document(
        503,
        "database_unavailable",
        "The database does not answer. Try again.",
        retryable=True,
        request_id=_id(request),
    )
    return _response(document, {"Retry-After": "2"})


async def _on_storage(request: Request, error: Exception) -> Response:
    log.warning("storage_unavailable", error=str(error))
    document = problem_document(
        503,
        "storage_unavailable",
        "The storage does not answer. Try again.",
        retryable=True,
        request_id=_id(request),
    )
    return _response(document, {"Retry-After": "2"})


async def _on_anything(request: Request, _error: Exception) -> Response:
    # Starlette raises the error again after this, so the server's log has the whole of it.
    document = problem_document(
        500,
        "internal_error",
        "Something went wrong on our side. The log knows more under this request_id.",
        retryable=True,
        request_id=_id(request),
    )
    return _response(document, {"X-Request-Id": _id(request) or ""})


def _without_echoes(errors: list[dict[str, str]]) -> list[dict[str, str]]:
    """Without the complaints of a union's other members, where one member knew what is wrong."""
    telling = [error["pointer"] for error in errors if error["code"] not in WRONG_KINDS]
    return [
        error
        for error in errors
        if error["code"] not in WRONG_KINDS
        or not any(f"{pointer}/".startswith(f"{error['pointer']}/") for pointer in telling)
    ]


def _field_problem(item: Mapping[str, Any], body: Any) -> dict[str, str]:
    place, *path = item["loc"]
    detail = item["msg"].removeprefix("Value error, ")
    if place == "body":
        pointer = _pointer(path, body, missing=item["type"] == "missing")
    else:
        pointer = f"/{place}/{'/'.join(map(str, path))}"
    return {"pointer": pointer, "code": item["type"], "detail": detail}


def _pointer(path: Sequence[str | int], body: Any, *, missing: bool) -> str:
    """Pydantic's location without the names of union members, which are no part of the body."""
    if missing and path:
        return _join([*_steps(path[:-1], body), path[-1]])
    return _join(_steps(path, body))


def _steps(path: Sequence[str | int], here: Any) -> list[str | int]:
    """The longest way down the body along the path; of equal ones, the one that skips first.

    A member may have the name of one of its own fields: {"kind": "uri", "uri": ...}.
    """
    if not path:
        return []
    skipped = _steps(path[1:], here)
    try:
        taken = [path[0], *_steps(path[1:], here[path[0]])]
    except (TypeError, KeyError, IndexError):
        return skipped
    return taken if len(taken) > len(skipped) else skipped


def _join(steps: Iterable[str | int]) -> str:
    return "".join(f"/{escape_pointer(str(step))}" for step in steps)


def _id(request: Request) -> str | None:
    request_id: str | None = getattr(request.state, "request_id", None)
    return request_id


def _response(document: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> Response:
    return Response(
        to_json(document), document["status"], dict(headers or {}), media_type=MEDIA_TYPE
    )
