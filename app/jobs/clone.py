"""Another job like one that is there, but for some fields."""

from typing import Annotated, Any

from fastapi.exceptions import RequestValidationError
from pydantic import Field, ValidationError

from app.http.schema import example
from app.spec.base import Spec
from app.spec.job import JobSpec

CLONE: dict[str, Any] = {
    "overrides": {
        "name": "hotter",
        "method": {"temperature": 8.0},
        "training": {"optimizer": {"lr": 0.02}},
    }
}


CheckpointName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.=-]{0,199}$")]


class CloneIn(Spec, json_schema_extra=example(CLONE)):
    """What is to be different."""

    overrides: dict[str, Any] = Field(default_factory=dict)
    """A merge patch (RFC 7396) over the job's specification: objects are merged, everything else
    is replaced, null takes a field back to its default. Where null means something by itself it
    is meant so: `"baseline": null` trains none. Another method or network family brings only its
    own fields."""
    from_checkpoint: CheckpointName | None = None
    """Go on from this checkpoint of the other job (`best`, `last`, or its name among the artifacts)
    instead of from the start, to extend a run: the overrides may lengthen the training, and leave
    alone what the checkpoint is the state of."""


def overridden(spec: dict[str, Any], overrides: dict[str, Any]) -> JobSpec:
    """The specification of the new job. Raises RequestValidationError, with pointers into it."""
    changed = _merged(spec, overrides)
    for field in overrides.keys() & _NULLABLE:
        if overrides[field] is None:
            changed[field] = None
    try:
        return JobSpec.model_validate(changed)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)
        placed = [{**item, "loc": ("body", *item["loc"])} for item in found]
        raise RequestValidationError(placed, body=changed) from None


_NULLABLE = frozenset({"baseline"})
_KINDS = {"method": "name", "network": "family"}
"""Objects that have other fields when this one of them changes."""


def _merged(target: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
    result = dict(target)
    for field, value in patch.items():
        if value is None:
            result.pop(field, None)
        elif isinstance(value, dict):
            before = result.get(field)
            if not isinstance(before, dict) or _of_another_kind(field, before, value):
                before = {}
            result[field] = _merged(before, value)
        else:
            result[field] = value
    return result


def _of_another_kind(field: str, before: dict[str, Any], patch: dict[str, Any]) -> bool:
    kind = _KINDS.get(field)
    return kind in patch and patch[kind] != before.get(kind)
