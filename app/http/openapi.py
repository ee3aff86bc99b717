"""The OpenAPI document: what FastAPI makes of the routes, with our problems and examples."""

from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from app.errors import MEDIA_TYPE
from app.http.gate import needed
from app.http.problems import ProblemOut, problems
from app.http.schema import Resource
from app.settings import Settings

REF = "#/components/schemas/"
KEY = {
    "type": "http",
    "scheme": "bearer",
    "bearerFormat": "sh_...",
    "description": "An API key, with the scope that the operation names (`admin` has them all).",
}


def document(app: FastAPI) -> dict[str, Any]:
    """Made once."""
    if app.openapi_schema is None:
        made = get_openapi(
            title=app.title,
            version=app.version,
            openapi_version="3.1.0",
            summary=app.summary,
            routes=app.routes,
        )
        settings: Settings = app.state.settings
        app.openapi_schema = _finished(made, asks_for_keys=settings.asks_for_keys)
    return app.openapi_schema


def _finished(made: dict[str, Any], *, asks_for_keys: bool) -> dict[str, Any]:
    schemas = made["components"]["schemas"]
    problem = ProblemOut.model_json_schema(ref_template=REF + "{model}")
    schemas.update(problem.pop("$defs"))
    schemas["Problem"] = problem
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    for resource in _kinds(Resource):
        # Given again: FastAPI has left out what is null.
        if resource.__name__ in schemas and (
            extra := resource.model_config.get("json_schema_extra")
        ):
            schemas[resource.__name__].update(extra)
    for schema in schemas.values():
        if schema.get("title", "").startswith("Page["):
            item = schema["properties"]["data"]["items"]["$ref"].removeprefix(REF)
            schema["examples"] = [{"data": schemas[item]["examples"], "next_cursor": None}]
    made["components"]["securitySchemes"] = {"key": KEY}
    for path, operations in made["paths"].items():
        for method, operation in operations.items():
            _ask(operation, needed(method.upper(), path), must=asks_for_keys)
            _finish(operation, schemas)
    return made


def _kinds(base: type[Resource]) -> Iterator[type[Resource]]:
    for kind in base.__subclasses__():
        yield kind
        yield from _kinds(kind)


def _ask(operation: dict[str, Any], scope: str | None, *, must: bool) -> None:
    """What the gate asks for, and how it refuses."""
    if scope is None:
        return
    operation["security"] = [{"key": [scope]}] if must else [{}, {"key": [scope]}]
    for status, problem in problems(401, 403, 429).items():
        operation["responses"].setdefault(str(status), problem)


def _finish(operation: dict[str, Any], schemas: dict[str, Any]) -> None:
    responses = operation["responses"]
    if "HTTPValidationError" in str(responses.get("422")):
        responses["422"] = {"description": "Unprocessable content"}
    responses["default"] = {"description": "Any other error"}
    for status in ("422", "default"):
        if status in responses:
            responses[status]["content"] = {MEDIA_TYPE: {"schema": {"$ref": REF + "Problem"}}}
    bodies = [operation.get("requestBody", {}), *responses.values()]
    for body in bodies:
        for media in body.get("content", {}).values():
            _give_example(media, schemas)


def _give_example(media: dict[str, Any], schemas: dict[str, Any]) -> None:
    """A schema's first example is its media type's."""
    schema = media.get("schema", {})
    schema = schemas.get(schema.get("$ref", "").removeprefix(REF), schema)
    if examples := schema.get("examples"):
        media.setdefault("example", examples[0])
