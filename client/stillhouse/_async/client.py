"""The client: where the service is, and what there is to ask of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import httpx

from stillhouse import config, models, wire
from stillhouse._async.datasets import AsyncDatasets
from stillhouse._async.files import AsyncFiles
from stillhouse._async.jobs import AsyncJobs
from stillhouse._async.sweeps import AsyncSweeps
from stillhouse._async.teachers import AsyncTeachers
from stillhouse._async.transport import AsyncTransport
from stillhouse.retries import Retries


class AsyncStillhouse:
    """A Stillhouse service.

    `url` and `key` come from STILLHOUSE_URL and STILLHOUSE_KEY where they are not given, then from
    `stillhouse login`, then http://127.0.0.1:8000 and none. Methods raise members of
    `stillhouse.errors`. One client serves any number of threads or tasks.
    """

    def __init__(
        self,
        url: str | None = None,
        key: str | None = None,
        *,
        retries: Retries = Retries(),
        timeout: float = 60.0,
        http: httpx.AsyncClient | None = None,
    ) -> None:
        found = config.read(url, key)
        self.url = found.url
        self._transport = AsyncTransport(
            found.url, found.key, retries=retries, timeout=httpx.Timeout(timeout), http=http
        )
        self.files = AsyncFiles(self._transport)
        self.teachers = AsyncTeachers(self._transport)
        self.datasets = AsyncDatasets(self._transport)
        self.jobs = AsyncJobs(self._transport)
        self.sweeps = AsyncSweeps(self._transport)

    async def methods(self) -> list[models.MethodOut]:
        """What a job may do, with every parameter and paper."""
        return wire.read(models.MethodsOut, await self._transport.get("methods")).data

    async def networks(self) -> list[models.NetworkOut]:
        """The families of networks, and how their tensors are named."""
        return wire.read(models.NetworksOut, await self._transport.get("networks")).data

    async def ready(self) -> dict[str, Any]:
        """Raises Unavailable, which names what is missing to run a job."""
        return wire.members(await self._transport.get("readyz"))

    async def openapi(self) -> dict[str, Any]:
        """The interface as the service describes it."""
        return wire.members(await self._transport.get("openapi.json"))

    async def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        json: Any = None,
    ) -> httpx.Response:
        """Anything else that the service answers, with the same retries and exceptions."""
        if method == "POST":
            return await self._transport.create(path, json, params=params)
        return await self._transport.send(method, path, params=params, json=json)

    async def close(self) -> None:
        await self._transport.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
