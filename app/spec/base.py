"""The pydantic base that every part of a specification shares."""

from typing import Any

from pydantic import BaseModel, ConfigDict


class Spec(BaseModel):
    """Frozen, closed (an unknown field is an error) and finite (NaN and infinity are refused)."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        allow_inf_nan=False,
        validate_default=True,
        use_attribute_docstrings=True,
        # "model" means a network here, so pydantic's own prefix must not be in the way.
        protected_namespaces=(),
    )


def named(value: Any, default: str) -> Any:
    """A member of a union told apart by `name`: the default one when it does not say which."""
    return {"name": default, **value} if isinstance(value, dict) else value
