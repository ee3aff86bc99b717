"""What health answers."""

from typing import Any, Literal

from app.http.schema import Resource, example


class Alive(Resource, json_schema_extra=example({"status": "ok"})):
    """This process answers."""

    status: Literal["ok"] = "ok"


READY: dict[str, Any] = {
    "status": "ready",
    "checks": {"database": "ok", "broker": "ok", "storage": "ok", "worker": "ok"},
}


class Ready(Resource, json_schema_extra=example(READY)):
    """Everything is there."""

    status: Literal["ready"] = "ready"
    checks: dict[str, Literal["ok"]]
