"""Builds the FastAPI application: `uvicorn app.main:create_app --factory`."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from app import __version__
from app.artifacts.endpoints import router as artifacts
from app.catalogue.endpoints import router as catalogue
from app.datasets.endpoints import router as datasets
from app.db import Database
from app.files.endpoints import router as files
from app.health.endpoints import router as health
from app.health.exposition import Exposition
from app.http import problems
from app.http.durations import Durations
from app.http.gate import Gate, gatekeeping
from app.http.middleware import BodyLimits, RequestIds
from app.http.openapi import document
from app.http.signing import open_signer
from app.http.traces import Traces
from app.jobs.endpoints import router as jobs
from app.metrics.endpoints import router as metrics
from app.projects.endpoints import router as projects
from app.queue import Doorbell
from app.settings import Settings, get_settings
from app.sources.policy import Policy
from app.storage import open_storage
from app.teachers.endpoints import router as teachers


def create_app(settings: Settings | None = None) -> FastAPI:
    """The service. Its database must have been migrated: `app.migrate.upgrade`."""
    settings = settings or get_settings()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.database = Database(settings.database)
        app.state.storage = open_storage(settings)
        app.state.signer = open_signer(settings)
        app.state.doorbell = Doorbell(settings)
        app.state.exposition.watch(app.state.database, app.state.storage)
        async with gatekeeping(app, settings):
            yield
        app.state.doorbell.close()
        app.state.database.close()

    app = FastAPI(
        title="Stillhouse",
        version=__version__,
        summary="Distils neural networks, and says whether it helped.",
        lifespan=lifespan,
        redirect_slashes=False,
    )
    app.state.settings = settings
    app.state.exposition = Exposition()
    app.state.sources = Policy.of(settings)
    for router in (
        files,
        teachers,
        datasets,
        jobs,
        metrics,
        artifacts,
        catalogue,
        projects,
        health,
    ):
        app.include_router(router)
    problems.install(app)
    # The last one added is the outermost.
    app.add_middleware(BodyLimits, settings=settings)
    app.add_middleware(Gate, settings=settings)
    app.add_middleware(Traces)
    app.add_middleware(RequestIds)
    app.add_middleware(Durations, registry=app.state.exposition.registry)
    app.openapi = lambda: document(app)  # type: ignore[method-assign]
    return app
