"""One form for every line of a log, ours and the libraries': for a person, or as JSON.

What is bound (`request_id`, `job`, `attempt`, ...) stands on every line that is written meanwhile,
in API and worker alike. A request's id goes from there with the job's row and with the message, and
stands at the head of each attempt in the job's own log, so that one search finds all that came of
it.
"""

import logging
import sys
from collections.abc import Mapping
from typing import Literal, TextIO

import structlog
from structlog.typing import Processor

Format = Literal["console", "json"]

QUIET = ("httpx", "httpcore", "alembic", "celery.worker.strategy", "celery.app.trace")
"""Loggers of libraries that tell of every little thing: only their warnings are kept."""

SHARED: tuple[Processor, ...] = (
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
)


def configure(format_: Format, level: str = "info", stream: TextIO | None = None) -> None:
    """For the rest of this process. Again, it replaces what was there."""
    stream = stream or sys.stderr
    render: tuple[Processor, ...] = (structlog.dev.ConsoleRenderer(colors=stream.isatty()),)
    if format_ == "json":
        render = (structlog.processors.dict_tracebacks, structlog.processors.JSONRenderer())
    # Past the standard library's loggers, which take twice as long over a line.
    structlog.configure(
        processors=[*SHARED, *render],
        logger_factory=structlog.WriteLoggerFactory(stream),
        wrapper_class=structlog.make_filtering_bound_logger(level),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[
                *SHARED,
                structlog.stdlib.ExtraAdder(allow=()),
                structlog.stdlib.add_logger_name,
            ],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *render],
        )
    )
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level.upper())
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)


def context() -> dict[str, str]:
    """What of the present context travels with a message."""
    bound = structlog.contextvars.get_contextvars()
    return {"request_id": bound["request_id"]} if "request_id" in bound else {}


def received(headers: Mapping[str, object] | None) -> dict[str, str]:
    """The same, at the other end."""
    request_id = (headers or {}).get("request_id")
    return {"request_id": request_id} if isinstance(request_id, str) else {}
