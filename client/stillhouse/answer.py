"""The base of what the service answers."""

from pydantic import BaseModel, ConfigDict


class Answer(BaseModel):
    """Open: a newer service may tell more, which stays readable as attributes."""

    model_config = ConfigDict(extra="allow", protected_namespaces=())
