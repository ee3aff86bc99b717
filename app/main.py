"""Builds the FastAPI application: `uvicorn app.main:create_app --factory`."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from app import __version__
from app.artifacts.endpoints import router as artifacts
from app.catalogue.endpoints import router as catalogue
from app.datasets.endpoints import router as datasets
from app.db import Database
from app.evaluations.endpoints import router as evaluations
from app.files.endpoints import router as files
from app.health.endpoints import router as health
from app.health.exposition import Exposition
from app.http import manual, problems
from app.http.durations import Durations
from app.http.gate import Gate, gatekeeping
from app.http.middleware import BodyLimits, RequestIds
from app.http.openapi import document
from app.http.signing import Signer
from app.http.traces import Traces
from app.jobs.endpoints import router as jobs
from app.knowledge.endpoints import router as knowledge
from app.logs.endpoints import router as logs
from app.metrics.endpoints import router as metrics
from app.projects.endpoints import router as projects
from app.queue import Doorbell
from app.secret import service_secret
from app.settings import Settings, get_settings
from app.sources.policy import Policy
from app.storage import open_storage
from app.streams.endpoints import router as streams
from app.streams.hub import Hub
from app.sweeps.endpoints import router as sweeps
from app.teachers.endpoints import router as teachers
from app.uploads.endpoints import router as uploads
from app.web.endpoints import router as web
from app.webhooks.endpoints import router as webhooks
from app.webhooks.reach import Reach
from app.webhooks.secrets import SecretMaker


def create_app(settings: Settings | None = None) -> FastAPI:
    """The service. Its database must have been migrated: `app.migrate.upgrade`."""
    settings = settings or get_settings()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.database = Database(settings.database)
        app.state.storage = open_storage(settings)
        secret = service_secret(settings)
        app.state.signer, app.state.secret_maker = Signer(secret), SecretMaker(secret)
        app.state.doorbell = Doorbell(settings)
        app.state.exposition.watch(app.state.database, app.state.storage)
        async with gatekeeping(app, settings), app.state.hub.running(app.state.database):
            yield
        app.state.doorbell.close()
        app.state.database.close()

    app = FastAPI(
        title="Stillhouse",
        version=__version__,
        summary="Distils neural networks, and says whether it helped.",
        lifespan=lifespan,
        redirect_slashes=False,
        docs_url=None,  # FastAPI's own pages load their scripts from elsewhere
        redoc_url=None,
    )
    app.state.settings = settings
    app.state.exposition = Exposition()
    app.state.hub = Hub(app.state.exposition.registry)
    app.state.sources = Policy.of(settings)
    app.state.reach = Reach.of(settings)
    for router in (  # asked in this order: first those that are asked for most
        jobs,
        metrics,
        streams,
        files,
        uploads,
        teachers,
        datasets,
        knowledge,
        sweeps,
        logs,
        artifacts,
        evaluations,
        catalogue,
        webhooks,
        projects,
        health,
        web,
    ):
        app.include_router(router)
    manual.install(app)
    problems.install(app)
    # The last one added is the outermost.
    app.add_middleware(BodyLimits, settings=settings)
    app.add_middleware(Gate, settings=settings)
    app.add_middleware(Traces)
    app.add_middleware(RequestIds)
    app.add_middleware(Durations, registry=app.state.exposition.registry)
    app.openapi = lambda: document(app)  # type: ignore[method-assign]
    return app
