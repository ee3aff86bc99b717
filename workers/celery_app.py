"""The Celery application: `celery -A workers.celery_app worker ...`.

Training: `-Q train.high,train,train.low --pool threads --concurrency <accelerators>`. A supervisor
only waits for its trainer, and a process of the prefork pool would never hear of a shutdown.
Inspections: `-Q light --pool threads`, so that they never wait behind hours of training.
"""

from typing import Any

from celery import Celery
from celery.signals import (
    celeryd_after_setup,
    setup_logging,
    worker_ready,
    worker_shutdown,
    worker_shutting_down,
)

from app import loglines, tracing
from app.queue import configure
from app.settings import get_settings, usable_home
from workers.host import Host

app = configure(Celery("stillhouse", include=["workers.tasks"]), get_settings())
app.conf.update(
    # Celery would make every print of ours a warning.
    worker_redirect_stdouts=False,
    # Nobody controls workers through the broker: one connection and one open door less.
    worker_enable_remote_control=False,
    # Trainings end with a checkpoint; the supervisor has its own limit for that.
    worker_soft_shutdown_timeout=0,
)

_host: Host | None = None


def host() -> Host:
    """What this worker process holds. Raises RuntimeError outside of one."""
    if _host is None:
        raise RuntimeError("not in a worker")
    return _host


@setup_logging.connect  # type: ignore[untyped-decorator]
def _log(**_: Any) -> None:
    # Whoever connects to this signal configures logging in Celery's stead.
    loglines.configure(get_settings().log_format, get_settings().log_level)


@celeryd_after_setup.connect  # type: ignore[untyped-decorator]
def _start(sender: str, instance: Any, **_: Any) -> None:
    global _host
    usable_home(get_settings())
    tracing.start(get_settings(), "worker")
    _host = Host(
        get_settings(),
        app,
        worker=sender,
        queues=set(instance.app.amqp.queues.consume_from),
        slots=int(instance.concurrency),
    )


@worker_ready.connect  # type: ignore[untyped-decorator]
def _ready(**_: Any) -> None:
    host().open()


@worker_shutting_down.connect  # type: ignore[untyped-decorator]
def _shutting_down(**_: Any) -> None:
    # Called in a signal handler: tasks see it within a second, and end; Celery waits for them.
    if _host is not None:
        _host.shutdown.set()


@worker_shutdown.connect  # type: ignore[untyped-decorator]
def _stop(**_: Any) -> None:
    if _host is not None:
        _host.close()
