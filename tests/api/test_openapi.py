from typing import Any

import jsonschema
import pytest

from app.main import create_app
from app.settings import Settings

DOCUMENT: dict[str, Any] = create_app(Settings()).openapi()
OPERATIONS = {
    f"{method.upper()} {path}": operation
    for path, operations in DOCUMENT["paths"].items()
    for method, operation in operations.items()
}


def validate(instance: Any, schema: dict[str, Any]) -> None:
    jsonschema.validate(instance, {**schema, "components": DOCUMENT["components"]})


def test_it_is_openapi_3_1() -> None:
    assert DOCUMENT["openapi"].startswith("3.1")
    assert "HTTPValidationError" not in str(DOCUMENT)


def test_ids_are_unique() -> None:
    ids = [operation["operationId"] for operation in OPERATIONS.values()]
    assert len(set(ids)) == len(ids) == len(OPERATIONS)


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation(name: str) -> None:
    operation = OPERATIONS[name]
    assert operation["summary"]
    assert operation["tags"]
    responses = operation["responses"]
    assert list(responses["default"]["content"]) == ["application/problem+json"]
    for status, response in responses.items():
        if status >= "4":
            assert list(response["content"]) == ["application/problem+json"]

    examples = 0
    bodies = [operation.get("requestBody", {}), *responses.values()]
    for media in (media for body in bodies for media in body.get("content", {}).values()):
        schema = media["schema"]
        given = [media["example"]] if "example" in media else []
        for example in given + schema.get("examples", []):
            validate(example, schema)
            examples += 1
        if media["schema"].get("format") != "binary":
            assert given or schema.get("examples"), (name, media)
    assert examples


@pytest.mark.parametrize("name", DOCUMENT["components"]["schemas"])
def test_a_schema(name: str) -> None:
    schema = DOCUMENT["components"]["schemas"][name]
    jsonschema.Draft202012Validator.check_schema(schema)
    for example in schema.get("examples", []):
        validate(example, {"$ref": f"#/components/schemas/{name}"})
