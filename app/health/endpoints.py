"""GET /healthz, GET /readyz, GET /metrics."""

from fastapi import APIRouter, Response

from app.dependencies import ExpositionDep, SettingsDep, StorageDep, WholeDatabaseDep
from app.errors import Unavailable
from app.health import service
from app.health.exposition import MEDIA_TYPE
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
def get_readiness(database: WholeDatabaseDep, storage: StorageDep, settings: SettingsDep) -> Ready:
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


@router.get(
    "/metrics",
    operation_id="get_service_metrics",
    summary="Show how the service does, to Prometheus",
    response_class=Response,
    responses={
        200: {
            "description": "Prometheus's text format.",
            "content": {
                "text/plain": {
                    "schema": {"type": "string"},
                    "example": 'stillhouse_jobs{queue="train",state="running"} 1.0\n',
                }
            },
        }
    },
)
def get_service_metrics(exposition: ExpositionDep) -> Response:
    """Jobs, leases, workers and sweeps as the database knows them, the same from every API process;
    durations of requests, memory and file descriptors of this process alone."""
    return Response(exposition.text(), media_type=MEDIA_TYPE)
