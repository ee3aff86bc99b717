"""The pydantic base that every part of a specification shares."""

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
