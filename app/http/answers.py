"""JSON answers, serialised once."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fastapi import Response
from pydantic import BaseModel
from pydantic_core import to_json


@dataclass(frozen=True)
class Answer:
    """What an endpoint answers, before it is bytes: it can be kept and given again."""

    status: int
    body: Any
    headers: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Members of the body that are told once, and never kept."""

    def response(self) -> Response:
        body = {**self.body, **self.secrets} if self.secrets else self.body
        return Response(
            to_json(body), self.status, dict(self.headers), media_type="application/json"
        )


def accepted(body: BaseModel, location: str) -> Answer:
    """202 for long work that has begun: where to look, and when."""
    headers = {"Location": location, "Retry-After": "1"}
    return Answer(202, body.model_dump(mode="json"), headers)
