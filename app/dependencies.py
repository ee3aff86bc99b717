"""What endpoints ask for. The functions are async because FastAPI sends others to a thread."""

from typing import Annotated

from fastapi import Depends, Request

from app.db import Database
from app.health.exposition import Exposition
from app.http.signing import Signer
from app.projects.caller import Caller, caller_of
from app.projects.keyring import Keyring
from app.queue import Doorbell
from app.settings import Settings
from app.sources.policy import Policy
from app.storage import Storage
from app.streams.hub import Hub
from app.tenancy import Deed, TenantDatabase
from app.webhooks.reach import Reach
from app.webhooks.secrets import SecretMaker


async def _settings(request: Request) -> Settings:
    settings: Settings = request.app.state.settings
    return settings


async def _database(request: Request) -> Database:
    """As the caller's project sees it."""
    return _of(request, caller_of(request.scope))


async def _admin_database(request: Request) -> Database:
    """As an admin sees it: the operator all projects, another one's admin that project."""
    caller = caller_of(request.scope)
    return _of(request, caller, everything=caller.is_operator)


def _of(request: Request, caller: Caller, *, everything: bool = False) -> Database:
    deed = None
    if request.method not in ("GET", "HEAD"):
        deed = Deed(
            action=request.scope["route"].operation_id,
            subject=next(iter(request.path_params.values()), None),
            key_id=caller.key_id,
            request_id=request.state.request_id,
        )
    return TenantDatabase(
        request.app.state.database,
        caller.project_id,
        deed=deed,
        everything=everything,
        caller=caller,
        request_id=request.state.request_id,
    )


async def _whole_database(request: Request) -> Database:
    database: Database = request.app.state.database
    return database


async def _caller(request: Request) -> Caller:
    return caller_of(request.scope)


async def _keyring(request: Request) -> Keyring:
    keyring: Keyring = request.app.state.keyring
    return keyring


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


async def _hub(request: Request) -> Hub:
    hub: Hub = request.app.state.hub
    return hub


async def _reach(request: Request) -> Reach:
    reach: Reach = request.app.state.reach
    return reach


async def _secret_maker(request: Request) -> SecretMaker:
    maker: SecretMaker = request.app.state.secret_maker
    return maker


async def _signer(request: Request) -> Signer:
    signer: Signer = request.app.state.signer
    return signer


SettingsDep = Annotated[Settings, Depends(_settings)]
DatabaseDep = Annotated[Database, Depends(_database)]
"""Of the caller's project alone."""
AdminDatabaseDep = Annotated[Database, Depends(_admin_database)]
"""Of the caller's project, or of every one for the service's operator."""
WholeDatabaseDep = Annotated[Database, Depends(_whole_database)]
"""Of every project, whoever asks: for the service's own health."""
CallerDep = Annotated[Caller, Depends(_caller)]
KeyringDep = Annotated[Keyring, Depends(_keyring)]
ExpositionDep = Annotated[Exposition, Depends(_exposition)]
StorageDep = Annotated[Storage, Depends(_storage)]
SourcesDep = Annotated[Policy, Depends(_sources)]
DoorbellDep = Annotated[Doorbell, Depends(_doorbell)]
HubDep = Annotated[Hub, Depends(_hub)]
ReachDep = Annotated[Reach, Depends(_reach)]
SecretMakerDep = Annotated[SecretMaker, Depends(_secret_maker)]
SignerDep = Annotated[Signer, Depends(_signer)]
