"""The base of every answer's schema."""

from typing import Any

from pydantic import BaseModel, ConfigDict
from pydantic.config import JsonDict


class Resource(BaseModel):
    """Documented by the docstrings under its attributes."""

    model_config = ConfigDict(use_attribute_docstrings=True, protected_namespaces=())


def example(document: dict[str, Any]) -> JsonDict:
    """For the class keyword `json_schema_extra`: what such an answer looks like."""
    return {"examples": [document]}
