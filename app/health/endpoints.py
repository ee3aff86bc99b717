"""GET /healthz, GET /readyz."""

from fastapi import APIRouter

from app.dependencies import DatabaseDep, SettingsDep, StorageDep
from app.errors import Unavailable
from app.health import service
from app.health.schemas import Alive, Ready
from app.http.parsing import StrictRoute
from app.http.problems import problems

router = APIRouter(tags=["health"], route_class=StrictRoute)


@router.get("/healthz", operation_id="get_health", summary="Is this process alive?")
async def get_health() -> Alive:
    return Alive()


@router.get(
    "/readyz",
    operation_id="get_readiness",
    summary="Is everything there to run a job?",
    responses=problems(503),
)
def get_readiness(database: DatabaseDep, storage: StorageDep, settings: SettingsDep) -> Ready:
    """Database, broker, storage, and a worker that was seen lately."""
    missing = service.missing(database, storage, settings)
    if missing:
        raise Unavailable(
            "not_ready",
            "Missing: " + "; ".join(f"{name} {reason}" for name, reason in missing.items()) + ".",
            errors=[
                {"pointer": f"/checks/{name}", "code": f"{name}_missing", "detail": reason}
                for name, reason in missing.items()
            ],
            retryable=True,
            headers={"Retry-After": "2"},
        )
    return Ready(checks=dict.fromkeys(("database", "broker", "storage", "worker"), "ok"))
