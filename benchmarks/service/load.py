"""Load on an API, from a process of its own.

*Closed*: so many connections, each of which asks again once it is answered: how much goes at all.
*Open*: requests are due at random moments of a fixed rate, whether the ones before were answered
or not, and each is timed from when it was due. A server that halts for a second is so charged for
all who would have come meanwhile, not for one (no coordinated omission). *Polling*: each connection
asks every so often, at a moment of its own, and is timed from then.
"""

import asyncio
import math
import multiprocessing
import random
import statistics
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import uvloop

ARRIVAL_S = 0.01
"""Between two clients of the closed kind."""


@dataclass(frozen=True)
class Plan:
    """What to ask for, in turn, and how."""

    host: str
    port: int
    requests: Sequence[bytes]
    """Whole requests. In each, b"%UNIQUE%" becomes a value of its own."""
    expected: int
    """The only status that counts as an answer."""
    connections: int = 32
    seconds: float = 10.0
    rate: float | None = None
    """Requests a second; None for the closed kind."""
    every: float | None = None
    """Seconds between two questions of one connection, for the polling kind."""
    seed: int = 0


@dataclass
class Result:
    """Times in seconds, of the expected answers alone."""

    times: list[float] = field(default_factory=list)
    errors: int = 0
    seconds: float = 0.0

    @property
    def rate(self) -> float:
        return len(self.times) / self.seconds

    def quantile(self, share: float) -> float:
        """In milliseconds."""
        cuts = statistics.quantiles(self.times, n=1000, method="inclusive")
        return 1000 * cuts[round(share * 1000) - 1]


def drive(plan: Plan) -> Result:
    """Runs the plan in a fresh process."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_drive, plan).result()


def _drive(plan: Plan) -> Result:
    if plan.every is not None:
        return uvloop.run(_polling(plan, plan.every))
    return uvloop.run(_closed(plan) if plan.rate is None else _open(plan))


async def _closed(plan: Plan) -> Result:
    """Clients come one after another, and ask while the next ones come: of several processes that
    share a socket whoever is free takes them. Together, one process might get them all."""
    result = Result()
    numbers = iter(range(10**12))
    began = math.inf

    async def client(connection: Connection) -> None:
        asked = 0.0
        while asked < began + plan.seconds:
            number = next(numbers)
            asked = time.perf_counter()
            status = await connection.ask(_request(plan, number))
            if asked >= began:
                _note(result, plan, status, time.perf_counter() - asked)

    clients = []
    for _ in range(plan.connections):
        clients.append(asyncio.ensure_future(client(await _connection(plan))))
        await asyncio.sleep(ARRIVAL_S)
    began = time.perf_counter()
    await asyncio.gather(*clients)
    result.seconds = time.perf_counter() - began
    return result


async def _open(plan: Plan) -> Result:
    assert plan.rate is not None
    result = Result()
    free = deque(await _connect(plan))
    waiting: deque[tuple[int, float]] = deque()
    asking: set[asyncio.Task[None]] = set()

    async def serve(connection: Connection, number: int, due: float) -> None:
        while True:
            status = await connection.ask(_request(plan, number))
            _note(result, plan, status, time.perf_counter() - due)
            if not waiting:
                free.append(connection)
                return
            number, due = waiting.popleft()

    moments = random.Random(plan.seed)
    began = due = time.perf_counter()
    number = 0
    while due < began + plan.seconds:
        await asyncio.sleep(max(due - time.perf_counter(), 0))
        if free:
            task = asyncio.ensure_future(serve(free.popleft(), number, due))
            asking.add(task)
            task.add_done_callback(asking.discard)
        else:
            waiting.append((number, due))
        number += 1
        due += moments.expovariate(plan.rate)
    await asyncio.gather(*asking)
    result.seconds = time.perf_counter() - began
    return result


async def _polling(plan: Plan, every: float) -> Result:
    result = Result()
    connections = await _connect(plan)
    began = time.perf_counter()

    async def client(number: int, connection: Connection) -> None:
        due = began + every * number / len(connections)
        while due < began + plan.seconds:
            await asyncio.sleep(max(due - time.perf_counter(), 0))
            status = await connection.ask(_request(plan, number))
            _note(result, plan, status, time.perf_counter() - due)
            due += every

    await asyncio.gather(*(client(*one) for one in enumerate(connections)))
    result.seconds = time.perf_counter() - began
    return result


def _request(plan: Plan, number: int) -> bytes:
    unique = b"%d-%08d" % (plan.seed, number)
    return plan.requests[number % len(plan.requests)].replace(b"%UNIQUE%", unique)


def _note(result: Result, plan: Plan, status: int, seconds: float) -> None:
    if status == plan.expected:
        result.times.append(seconds)
    else:
        result.errors += 1


async def _connect(plan: Plan) -> "list[Connection]":
    return [await _connection(plan) for _ in range(plan.connections)]


async def _connection(plan: Plan) -> "Connection":
    loop = asyncio.get_running_loop()
    return (await loop.create_connection(Connection, plan.host, plan.port))[1]


class Connection(asyncio.Protocol):
    """One request at a time over HTTP/1.1, kept alive."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport  # uvloop's is no subclass of asyncio's
        self._got = b""
        self._answer: asyncio.Future[int] | None = None

    async def ask(self, request: bytes) -> int:
        """The status; 0 when the connection was closed."""
        self._answer = asyncio.get_running_loop().create_future()
        if self._transport.is_closing():
            return 0
        self._transport.write(request)
        return await self._answer

    def data_received(self, data: bytes) -> None:
        self._got += data
        head, blank, body = self._got.partition(b"\r\n\r\n")
        if not blank:
            return
        length = head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
        if len(body) >= int(length or 0) and self._answer is not None:
            self._got = b""
            self._answer.set_result(int(head[9:12]))

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(0)
