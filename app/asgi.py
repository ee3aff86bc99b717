"""The API as a process: `python -m app.asgi`."""

import gc
import os
import socket
from collections.abc import Callable
from typing import Any

import uvicorn

from app import loglines, tracing
from app.http.patience import patient
from app.settings import Settings, get_settings, usable_home

LISTEN_FD = "STILLHOUSE_LISTEN_FD"
"""A socket that is already listening, handed down by whoever restarts this process: clients that
come meanwhile wait in its queue."""


def server_config(
    settings: Settings, app: str | Callable[..., Any] = "app.main:create_app", **options: Any
) -> uvicorn.Config:
    """How the API is served; `app` makes the application."""
    return uvicorn.Config(
        app,
        factory=True,
        host=settings.host,
        port=settings.port,
        http=patient(settings),
        loop="uvloop",
        ws="none",
        lifespan="on",
        # Longer than a polling client's pause, so that it keeps its connection.
        timeout_keep_alive=30,
        # Downloads may finish; a client that hangs must not hold the process.
        timeout_graceful_shutdown=5,
        backlog=2048,
        # The service's own middleware logs requests, with their ids.
        access_log=False,
        server_header=False,
        # Forwarded addresses would be believed from anybody.
        proxy_headers=False,
        **{"log_level": "info", "log_config": None, **options},
    )


class Server(uvicorn.Server):
    """uvicorn's, which looks for garbage among a request's objects only, and ends streams as soon
    as it is told to stop: it would wait for them, and they never end.

    Modules, routes and schemas hold hundreds of thousands of objects that never die: going through
    them again and again took a tenth of every request.
    """

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        gc.collect()
        gc.freeze()
        gc.set_threshold(20_000, 50, 100)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self.config.loaded_app.state.hub.close()
        await super().shutdown(sockets)


def main() -> None:
    """Serves until SIGTERM or SIGINT."""
    settings = get_settings()
    usable_home(settings)
    loglines.configure(settings.log_format, settings.log_level)
    tracing.start(settings, "api")
    server = Server(server_config(settings))
    inherited = os.environ.get(LISTEN_FD)
    server.run(sockets=[socket.socket(fileno=int(inherited))] if inherited else None)


if __name__ == "__main__":
    main()
