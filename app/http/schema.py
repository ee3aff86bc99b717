"""The base of every answer's schema."""

from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict
from pydantic.config import JsonDict


class Resource(BaseModel):
    """Documented by the docstrings under its attributes."""

    model_config = ConfigDict(use_attribute_docstrings=True, protected_namespaces=())


def _in_utc(value: datetime) -> datetime:
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise ValueError("must be of the years 1 to 9999 in UTC") from None


Instant = Annotated[AwareDatetime, AfterValidator(_in_utc)]
"""A time that a client sends."""


def example(document: dict[str, Any]) -> JsonDict:
    """For the class keyword `json_schema_extra`: what such an answer looks like."""
    return {"examples": [document]}
