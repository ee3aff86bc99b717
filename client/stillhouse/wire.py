"""What an answer is: a resource, or a problem."""

from collections.abc import Mapping
from typing import Any, TypeVar

import httpx
from pydantic import BaseModel, ValidationError

from stillhouse.errors import StillhouseError, UnexpectedAnswer, Unreachable, problem
from stillhouse.retries import retry_after

Model = TypeVar("Model", bound=BaseModel)


def read(model: type[Model], response: httpx.Response) -> Model:
    """Raises UnexpectedAnswer where the answer is not such a resource."""
    try:
        return model.model_validate_json(response.content)
    except ValidationError as error:
        raise _misread(model, response, error) from error


def page(model: type[Model], response: httpx.Response) -> tuple[list[Model], str | None]:
    """A part of a list, and where the next one begins; None after the last."""
    document = members(response)
    try:
        found = [model.model_validate(item) for item in document["data"]]
        return found, document["next_cursor"]
    except ValidationError as error:
        raise _misread(model, response, error) from error
    except (KeyError, TypeError) as error:
        raise UnexpectedAnswer(_address(response), "its answer is no list") from error


def members(response: httpx.Response) -> dict[str, Any]:
    """An answer without a type. Raises UnexpectedAnswer where it is no JSON object."""
    try:
        document = response.json()
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise UnexpectedAnswer(_address(response), "its answer is no JSON object")
    return document


def refusal(response: httpx.Response) -> StillhouseError:
    """The exception that an answer of 400 and above is; its body must have been read."""
    status = response.status_code
    wait = retry_after(response.headers.get("retry-after"))
    document = _document(response)
    if document is None:
        if status < 500 and status not in (407, 429):
            kind = response.headers.get("content-type", "no content type")
            return UnexpectedAnswer(_address(response), f"{status} with {kind}")
        document = {"detail": f"{status} {response.reason_phrase}", "retryable": status >= 500}
    return problem(document, status_code=status, retry_after=wait)


def unreachable(url: str, error: httpx.TransportError) -> Unreachable:
    return Unreachable(f"Nothing answers at {url}: {str(error) or type(error).__name__}.")


def without_nothing(values: Mapping[str, Any] | None) -> dict[str, Any]:
    """Query parameters that were given."""
    return {name: value for name, value in (values or {}).items() if value is not None}


def _misread(
    model: type[BaseModel], response: httpx.Response, error: ValidationError
) -> UnexpectedAnswer:
    first = error.errors(include_url=False, include_input=False)[0]
    place = ".".join(str(step) for step in first["loc"])
    what = f"{model.__name__} has {place or 'a body'} that this client cannot read"
    return UnexpectedAnswer(_address(response), f"{what} ({first['msg']})")


def _document(response: httpx.Response) -> dict[str, Any] | None:
    if "json" not in response.headers.get("content-type", ""):
        return None
    try:
        document = response.json()
    except ValueError:
        return None
    return document if isinstance(document, dict) and "detail" in document else None


def _address(response: httpx.Response) -> str:
    return str(response.request.url.copy_with(query=None))


def cut_off(done: int, size: int) -> Unreachable:
    lost = Unreachable(f"The connection ended after {done:,} of {size:,} bytes.")
    lost.hint = "What has arrived is kept: ask again, and it goes on from there."
    return lost


def unreadable(response: httpx.Response, what: str) -> UnexpectedAnswer:
    return UnexpectedAnswer(_address(response), f"an event {what!r} that this client cannot read")
