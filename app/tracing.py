"""OpenTelemetry, where STILLHOUSE_OTEL asks for it: request -> queue -> attempt -> its phases.

Off, nothing of it is imported, and `span` costs a function call. A job's row keeps the request's
span (W3C `traceparent`), so that an attempt belongs to the same trace whoever rang for it, and
however often.
"""

import atexit
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from app import __version__
from app.settings import Settings, refuse

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter

Kind = Literal["internal", "server", "producer", "consumer"]

_provider: "TracerProvider | None" = None


def start(settings: Settings, service: str, exporter: "SpanExporter | None" = None) -> None:
    """Spans of this process go out from now on; `exporter` takes them instead of the setting's.

    Ends the process when they are asked for and cannot be had.
    """
    global _provider
    if settings.otel == "off" and exporter is None:
        return
    try:
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
    except ImportError:
        refuse({"otel": "needs more: pip install 'stillhouse[otel]'"})
    provider = TracerProvider(
        resource=Resource({"service.name": f"stillhouse-{service}", "service.version": __version__})
    )
    if exporter is not None:
        provider.add_span_processor(SimpleSpanProcessor(exporter))
    else:
        provider.add_span_processor(BatchSpanProcessor(_exporter(settings.otel)))
    _provider = provider
    atexit.register(stop)


def _exporter(where: str) -> "SpanExporter":
    if where == "console":
        from opentelemetry.sdk.trace.export import ConsoleSpanExporter

        return ConsoleSpanExporter(out=sys.stderr)
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    return OTLPSpanExporter(endpoint=where.rstrip("/") + "/v1/traces")


def stop() -> None:
    """Sends what waits."""
    global _provider
    if _provider is not None:
        _provider.shutdown()
        _provider = None


@contextmanager
def span(
    name: str,
    *,
    kind: Kind = "internal",
    parent: str | None = None,
    since: datetime | None = None,
    **attributes: Any,
) -> Iterator[Any]:
    """Around what happens inside; yields the span, or None where nothing is traced.

    `parent` is a traceparent; without one the present span is it. With `since` it began then.
    """
    if _provider is None:
        yield None
        return
    from opentelemetry.trace import SpanKind
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    above = None
    if parent is not None:
        above = TraceContextTextMapPropagator().extract({"traceparent": parent})
    with _provider.get_tracer("stillhouse", __version__).start_as_current_span(
        name,
        context=above,
        kind=SpanKind[kind.upper()],
        start_time=None if since is None else int(since.timestamp() * 1e9),
        attributes={key: value for key, value in attributes.items() if value is not None},
    ) as current:
        yield current


class Phases:
    """Spans one after another in a thread, each until the next one begins."""

    def __init__(self) -> None:
        self._name: str | None = None
        self._open = ExitStack()

    def enter(self, name: str) -> None:
        if name != self._name:
            self.close()
            self._name = name
            self._open.enter_context(span(name))

    def close(self) -> None:
        self._name = None
        self._open.close()


def traceparent() -> str | None:
    """Of the present span; None where nothing is traced."""
    if _provider is None:
        return None
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier)
    return carrier.get("traceparent")


def received(headers: Mapping[str, object] | None) -> str | None:
    """The traceparent that came with a request or a message."""
    found = (headers or {}).get("traceparent")
    return found if isinstance(found, str) else None
