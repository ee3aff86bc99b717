"""A span for each request, under the caller's where there is one."""

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app import tracing


class Traces:
    """Costs next to nothing where tracing is off."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        method, status = scope["method"], 500

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        parent = tracing.received(Headers(scope=scope))
        request_id = scope["state"]["request_id"]
        with tracing.span(method, kind="server", parent=parent, request_id=request_id) as span:
            try:
                await self.app(scope, receive, noting if span else send)
            finally:
                if span:
                    route = getattr(scope.get("route"), "path", None)
                    span.set_attribute("http.request.method", method)
                    span.set_attribute("http.response.status_code", status)
                    if route is not None:
                        span.update_name(f"{method} {route}")
                        span.set_attribute("http.route", route)
