"""What endpoints ask for. The functions are async because FastAPI sends others to a thread."""

from typing import Annotated

from fastapi import Depends, Request

from app.db import Database
from app.health.exposition import Exposition
from app.http.signing import Signer
from app.queue import Doorbell
from app.settings import Settings
from app.sources.policy import Policy
from app.storage import Storage
from app.tables import DEFAULT_PROJECT
from app.tenancy import TenantDatabase


async def _settings(request: Request) -> Settings:
    settings: Settings = request.app.state.settings
    return settings


async def _database(request: Request) -> Database:
    """As the caller's project sees it."""
    return TenantDatabase(request.app.state.database, DEFAULT_PROJECT)


async def _whole_database(request: Request) -> Database:
    database: Database = request.app.state.database
    return database


async def _exposition(request: Request) -> Exposition:
    exposition: Exposition = request.app.state.exposition
    return exposition


async def _storage(request: Request) -> Storage:
    storage: Storage = request.app.state.storage
    return storage


async def _sources(request: Request) -> Policy:
    sources: Policy = request.app.state.sources
    return sources


async def _doorbell(request: Request) -> Doorbell:
    doorbell: Doorbell = request.app.state.doorbell
    return doorbell


async def _signer(request: Request) -> Signer:
    signer: Signer = request.app.state.signer
    return signer


SettingsDep = Annotated[Settings, Depends(_settings)]
DatabaseDep = Annotated[Database, Depends(_database)]
"""Of the caller's project alone."""
WholeDatabaseDep = Annotated[Database, Depends(_whole_database)]
"""Of every project: for the service's own health, and for its operator."""
ExpositionDep = Annotated[Exposition, Depends(_exposition)]
StorageDep = Annotated[Storage, Depends(_storage)]
SourcesDep = Annotated[Policy, Depends(_sources)]
DoorbellDep = Annotated[Doorbell, Depends(_doorbell)]
SignerDep = Annotated[Signer, Depends(_signer)]
