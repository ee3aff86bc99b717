"""The gate before every address: who asks, whether they may, and how often.

What an address asks for follows from method and path alone, so a new endpoint is never open by
having been forgotten.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import structlog
from fastapi import FastAPI
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.errors import Forbidden, Problem, TooMany, Unavailable
from app.http.middleware import refuse
from app.http.rates import Rates, Verdict
from app.projects import keys
from app.projects.caller import Caller
from app.projects.keyring import Keyring
from app.projects.service import plant_key
from app.settings import Settings
from app.tables import DEFAULT_PROJECT

OPEN: Final = frozenset({"healthz", "readyz", "openapi.json", "docs", "static"})
"""First parts of addresses that are anybody's. So is the dashboard, which asks for a key itself."""
DASHBOARD: Final = "/"
ADMIN: Final = frozenset({"projects", "keys", "audit"})
OPERATOR: Final = frozenset({"metrics"})
"""What tells of all projects is for keys of the default one."""


def first_part(path: str) -> str:
    return path.removeprefix("/").partition("/")[0]


def needed(method: str, path: str) -> keys.Scope | None:
    """The scope that a request takes; None where no key is asked for."""
    first = first_part(path)
    if first in OPEN or path == DASHBOARD:
        return None
    if first in ADMIN:
        return "admin"
    return "jobs:read" if method in ("GET", "HEAD", "OPTIONS") else "jobs:write"


@asynccontextmanager
async def gatekeeping(app: FastAPI, settings: Settings) -> AsyncIterator[None]:
    """What the gate of this process needs, beside the database in the application's state."""
    keyring = Keyring(app.state.database, settings)
    rates = Rates(settings.rate, settings.broker) if settings.rate else None
    app.state.keyring, app.state.rates = keyring, rates
    await run_in_threadpool(plant_key, app.state.database, settings)
    try:
        yield
    finally:
        keyring.close()
        if rates is not None:
            await rates.close()


class Gate:
    """Puts the caller into the request's state, or answers 401, 403, 429 or 503."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self.app = app
        self.asks = settings.asks_for_keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        wanted = needed(scope["method"], scope["path"]) if scope["type"] == "http" else None
        if wanted is None:
            await self.app(scope, receive, send)
            return
        verdict: Verdict | None = None
        state: Any = scope["app"].state
        try:
            caller = await self._caller(state.keyring, Headers(scope=scope))
            if state.rates is not None:
                verdict = await _within(state.rates, _payer(caller, scope))
            _check(caller, wanted, scope["path"])
        except Problem as problem:
            if verdict is not None:
                problem.headers |= verdict.headers()
            await refuse(problem, scope, receive, send)
            return
        scope["state"]["caller"] = caller
        if caller.key_id is not None:
            structlog.contextvars.bind_contextvars(key=caller.key_id, project=caller.project_id)
        await self.app(scope, receive, send if verdict is None else _telling(send, verdict))

    async def _caller(self, keyring: Keyring, headers: Headers) -> Caller:
        """Raises Unauthorized, or Unavailable when nobody can tell."""
        key = self._key(headers.get("authorization", ""))
        if (caller := keyring.recall(key)) is not None:
            return caller
        try:
            return await run_in_threadpool(keyring.verify, key)
        except (OperationalError, InterfaceError, PoolTimeout) as error:
            raise Unavailable(
                "database_unavailable",
                "The database does not answer. Try again.",
                retryable=True,
                headers={"Retry-After": "2"},
            ) from error

    def _key(self, header: str) -> str | None:
        """Where none is asked for, one of ours that is given counts all the same."""
        kind, _, credentials = header.partition(" ")
        key = credentials.strip()
        if kind.lower() == "bearer" and (self.asks or key.startswith(keys.PREFIX)):
            return key
        return None


def _check(caller: Caller, wanted: keys.Scope, path: str) -> None:
    if not caller.may(wanted):
        challenge = f'Bearer realm="stillhouse", error="insufficient_scope", scope="{wanted}"'
        raise Forbidden(
            "missing_scope",
            f"This key has not the scope {wanted}.",
            headers={"WWW-Authenticate": challenge},
        )
    if first_part(path) in OPERATOR and caller.project_id != DEFAULT_PROJECT:
        raise Forbidden("operator_only", "This tells of all projects: ask the operator.")


def _payer(caller: Caller, scope: Scope) -> str:
    """Without keys there are only addresses to tell clients apart by."""
    return caller.key_id or (scope["client"] or ("unknown",))[0]


async def _within(rates: Rates, who: str) -> Verdict:
    verdict = await rates.spend(who)
    if not verdict.admitted:
        raise TooMany(
            "rate_limited",
            f"More than {verdict.limit:,} requests in {verdict.window_s} s.",
            hint=f"Go on in {verdict.reset_s} s.",
            retryable=True,
            headers={"Retry-After": str(verdict.reset_s), **verdict.headers()},
        )
    return verdict


def _telling(send: Send, verdict: Verdict) -> Send:
    async def telling(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message).update(verdict.headers())
        await send(message)

    return telling
