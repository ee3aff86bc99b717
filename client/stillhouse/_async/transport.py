"""Requests to the service: the address, the key, retries, and problems as exceptions."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote

import httpx

from stillhouse import __version__, flow_async, wire
from stillhouse.errors import Problem, Unreachable
from stillhouse.retries import PASSING, Retries

Params = Mapping[str, Any]
Body = Callable[[], AsyncIterator[bytes]]
"""Begins a body again for each attempt."""


class AsyncTransport:
    """One service and one key."""

    def __init__(
        self,
        url: str,
        key: str | None,
        *,
        retries: Retries,
        timeout: float | httpx.Timeout,
        http: httpx.AsyncClient | None = None,
    ) -> None:
        self.url = url.rstrip("/")
        self.retries = retries
        self._headers = {"User-Agent": f"stillhouse-python/{__version__}"}
        if key:
            self._headers["Authorization"] = f"Bearer {key}"
        self._timeout = timeout
        self._http = http or httpx.AsyncClient()

    async def close(self) -> None:
        await self._http.aclose()

    async def send(
        self,
        method: str,
        path: str,
        *,
        params: Params | None = None,
        json: Any = None,
        headers: Mapping[str, str] | None = None,
        body: Body | None = None,
        content: bytes | None = None,
        timeout: httpx.Timeout | None = None,
    ) -> httpx.Response:
        """The answer to a request, after retries. Raises a member of `stillhouse.errors`."""
        attempt = 1
        while True:
            try:
                request = self._build(
                    method,
                    path,
                    params=params,
                    json=json,
                    headers=headers,
                    content=body() if body is not None else content,
                    timeout=timeout,
                )
                response = await self._http.send(request)
            except httpx.TransportError as error:
                failure = wire.unreachable(self.url, error)
                pause = self.retries.pause(attempt) if passing(error) else None
                if pause is None:
                    raise failure from error
            else:
                if response.status_code < 400:
                    return response
                refusal = wire.refusal(response)
                wait = refusal.retry_after if isinstance(refusal, Problem) else None
                pause = self.retries.pause(attempt, wait)
                if pause is None or response.status_code not in PASSING:
                    raise refusal
            await flow_async.sleep(pause)
            attempt += 1

    async def create(
        self,
        path: str,
        body: Any,
        *,
        params: Params | None = None,
        idempotency_key: str | None = None,
    ) -> httpx.Response:
        """A POST that makes something, at most once however often it is sent."""
        headers = {"Idempotency-Key": idempotency_key or uuid.uuid4().hex}
        return await self.send("POST", path, params=params, json=body, headers=headers)

    async def get(self, *steps: str, params: Params | None = None) -> httpx.Response:
        """What lies at these steps of an address."""
        path = "".join(f"/{quote(step, safe='')}" for step in steps)
        return await self.send("GET", path, params=params)

    @asynccontextmanager
    async def open(
        self,
        path: str,
        *,
        params: Params | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: httpx.Timeout | None = None,
    ) -> AsyncIterator[httpx.Response]:
        """A GET whose answer is read as it comes: one attempt. Raises as `send` does, and
        httpx.TransportError while it is read."""
        try:
            request = self._build("GET", path, params=params, headers=headers, timeout=timeout)
            response = await self._http.send(request, stream=True)
        except httpx.TransportError as error:
            raise wire.unreachable(self.url, error) from error
        try:
            if response.status_code >= 400:
                await response.aread()
                raise wire.refusal(response)
            yield response
        finally:
            await response.aclose()

    def _build(
        self,
        method: str,
        path: str,
        *,
        params: Params | None = None,
        json: Any = None,
        headers: Mapping[str, str] | None = None,
        content: AsyncIterator[bytes] | bytes | None = None,
        timeout: httpx.Timeout | None = None,
    ) -> httpx.Request:
        ours = path.startswith("/")
        try:
            return self._http.build_request(
                method,
                self.url + path if ours else path,
                params=wire.without_nothing(params) or None,
                json=json,
                content=content,
                timeout=timeout or self._timeout,
                # An object store's address is as good as a key, and must not learn ours.
                headers={**(self._headers if ours else {}), **(headers or {})},
            )
        except httpx.InvalidURL as error:
            raise Unreachable(f"{self.url} is no address: {error}.") from error


def passing(error: httpx.TransportError) -> bool:
    """Whether the same request may do better."""
    return not isinstance(error, httpx.UnsupportedProtocol | httpx.ProxyError)
