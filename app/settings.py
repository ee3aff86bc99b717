"""The only reader of the environment: every setting of the service and its workers."""

import errno
import ipaddress
import os
import re
import sys
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from app.memory import machine_bytes

MIB = 1024 * 1024
KEY_SHAPE = r"sh_[A-Za-z0-9_-]{26,128}"
"""An API key: 26 letters and digits can hold 128 random bits."""
SCHEMES = {
    "database_url": ("postgresql://", "postgres://", "postgresql+psycopg://", "sqlite:///"),
    "broker_url": ("redis://", "rediss://", "redis+socket://"),
    "storage_url": ("s3://", "s3a://", "gs://", "az://", "file://", "memory://"),
}
"""How the addresses of other servers begin."""
RATE_SHAPE = r"[1-9][0-9]{0,8}/(second|minute|hour|day)"


class Settings(BaseSettings):
    """Set by environment variables named STILLHOUSE_ and the field in capitals."""

    model_config = SettingsConfigDict(
        env_prefix="STILLHOUSE_",
        env_ignore_empty=True,
        frozen=True,
        use_attribute_docstrings=True,
        hide_input_in_errors=True,  # secrets among them
    )

    host: str = "127.0.0.1"
    """Where the API listens. Beyond loopback it asks for keys."""
    port: int = Field(default=8000, ge=0, le=65_535)
    """0 takes a free one."""
    home: Path = Path(".stillhouse")
    """The data directory: embedded database, artifacts, caches, runs."""
    database_url: str | None = None
    """SQLAlchemy URL; empty is SQLite under home. postgresql:// means psycopg 3."""
    broker_url: str | None = None
    """Any Redis-protocol server; empty lets `make serve` start one under home."""
    storage_url: str | None = None
    """s3://, gs://, az:// or file://; empty is a directory under home."""
    data: Path | None = None
    """Where benchmarks and tests find data sets."""

    auth: Literal["auto", "on", "off"] = "auto"
    """Whether requests need an API key; auto asks for one unless only this machine can connect."""
    bootstrap_key: SecretStr | None = None
    """A first key with every scope, of the default project: sh_ and 26 or more random letters and
    digits. Made when the API starts, unless it is there."""
    rate_limit: str = "auto"
    """Requests of one key, such as 600/minute, or off; auto is 18000/minute where keys are asked
    for, else off."""
    max_active_jobs: int | None = Field(default=None, ge=0)
    """Of one project: queued, running and paused. Empty is 1,000 where keys are asked for, else as
    many as come. A project's own limits go before these."""
    max_stored_bytes: int | None = Field(default=None, ge=0)
    """Of one project. Empty is 1 TiB where keys are asked for, else whatever storage holds."""

    secret: SecretStr | None = None
    """Signs cursors, and webhooks by secrets made from it; empty keeps a random one under home. API
    processes and workers with homes of their own must share it."""

    api_processes: int = Field(default=1, ge=1, le=64)
    """API processes that `make serve` starts on one socket: one is bound to a single core."""
    workers: int = Field(default=1, ge=1, le=64)
    """Trainings that the worker of `make serve` runs side by side, with GPUs as many as there are.
    Where Celery is started by hand it is the same as its `--concurrency`."""
    threads: int | None = Field(default=None, ge=1)
    """CPU threads of one training; empty shares the cores among `workers`."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:<n>."""
    lease_s: float = Field(default=60.0, ge=1)
    """A worker that has not been heard of for so long has lost its job."""
    max_attempts: int = Field(default=3, ge=1)
    """Attempts without checkpoint progress before a job fails."""
    checkpoint_every_s: float = Field(default=60.0, gt=0)
    """Between two checkpoints of a training, at least; they take 1 % of its time at most. After an
    attempt that was killed the next one saves sixteen times as often."""
    cancel_grace_s: float = Field(default=30.0, gt=0)
    """From asking a trainer to stop to killing it."""

    blob_grace_s: float = Field(default=3600.0, ge=0)
    """How long bytes stay that no file, teacher, dataset or job refers to any more."""
    stray_grace_s: float = Field(default=86_400.0, ge=0)
    """How old bytes in storage that no row of the database refers to must be before they are taken
    for left behind. A storage must belong to one database alone: another's bytes would go too."""
    keep_checkpoints_days: float | None = Field(default=None, ge=0)
    """From a job's end until its checkpoints are removed, from which it could be trained on. Empty
    keeps them for good, as with the next two."""
    keep_artifacts_days: float | None = Field(default=None, ge=0)
    """The same for all else that it made, student and report among it. Teachers made of its student
    stay."""
    keep_metrics_days: float | None = Field(default=None, ge=0)
    """The same for its curves."""
    blob_cache_bytes: int = Field(default=20 * 1024 * MIB, ge=0)
    """What a worker keeps of an object store's blobs on its own disk, beside those in use."""
    presign_s: float = Field(default=3600.0, ge=0)
    """How long the address holds by which a client downloads from the object store itself; 0 sends
    every byte through the API."""
    upload_part_bytes: int = Field(default=16 * MIB, ge=1)
    """Of one part of a resumable upload; parts of a very large file are larger, so that it has
    1,000 at most."""
    upload_expiry_s: float = Field(default=259_200.0, gt=0)
    """How long a resumable upload may take; what has arrived of it is forgotten then."""
    min_free_bytes: int = Field(default=256 * MIB, ge=0)
    """With less room on its disk the API takes no upload, and a worker no job."""

    disk_full_pause_s: float = Field(default=60.0, ge=0)
    """How long a worker leaves a job alone for which its disk had no room, or storage was away."""

    header_timeout_s: float = Field(default=10.0, gt=0)
    """How long a connection may take to send a request's headers."""
    body_window_s: float = Field(default=30.0, gt=0)
    """Over how long `body_min_rate` is measured."""
    body_min_rate: int = Field(default=1024, ge=0)
    """Bytes per second, over each window, that a client must send of a body while it is waited for,
    and take of an answer; 0 waits without end."""

    uri_allow: Annotated[tuple[str, ...], NoDecode] = ()
    """From where data sets may be read by uri, separated by commas: https://host/prefix/,
    https://*.example.org, s3://bucket/{project}/ (the id of the project that asks). Empty: from
    nowhere."""
    uri_allow_networks: Annotated[tuple[str, ...], NoDecode] = ()
    """Inner networks (10.0.0.0/8) whose addresses may be read too, where `uri_allow` names them."""
    uri_timeout_s: float = Field(default=3600.0, gt=0)
    """How long fetching one uri may take."""

    webhook_allow_networks: Annotated[tuple[str, ...], NoDecode] = ()
    """Inner networks (10.0.0.0/8) that webhooks may reach, by http too. Empty: only public
    addresses, by https."""

    max_json_bytes: int = Field(default=MIB, ge=1024)
    """The largest JSON body."""
    max_file_bytes: int = Field(default=64 * 1024 * MIB, ge=1)
    """The largest upload."""
    max_dataset_bytes: int = Field(default=16 * 1024 * MIB, ge=1)
    """Decoded size of a data set."""
    memory_budget_bytes: int | None = Field(default=None, ge=1)
    """What one training may take; empty is what the workers report, or this machine's memory."""
    process_memory_bytes: int | None = Field(default=None, ge=1)
    """What one training or inspection may take of this machine's own memory, not its accelerator's,
    before it is ended (`over_memory`); empty is nine tenths of what there is."""
    inspection_limit_s: float = Field(default=900.0, gt=0)
    """How long checking one teacher or data set may take."""
    cache_bytes: int = Field(default=20 * 1024 * MIB, ge=0)
    """Soft targets and baselines kept for later jobs."""
    log_format: Literal["console", "json"] = "console"
    """For a person, or for a collector of logs."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """From which level on. Requests that only read and succeed are debug."""
    otel: str = "off"
    """Where OpenTelemetry spans of requests, queues and attempts go: off, console, or the address
    of a collector's OTLP/HTTP, such as http://collector:4318 (needs the extra `otel`)."""

    @field_validator("uri_allow", "uri_allow_networks", "webhook_allow_networks", mode="before")
    @classmethod
    def _listed(cls, found: Any) -> Any:
        return found.replace(",", " ").split() if isinstance(found, str) else found

    @field_validator(*SCHEMES)
    @classmethod
    def _of_a_known_kind(cls, url: str | None, field: ValidationInfo) -> str | None:
        known = SCHEMES[field.field_name or ""]
        if url is not None and not url.startswith(known):
            raise ValueError(f"should begin with {' or '.join(known)}")
        return url

    @field_validator("uri_allow")
    @classmethod
    def _places(cls, places: tuple[str, ...]) -> tuple[str, ...]:
        from app.sources.policy import Entry  # it reads settings itself

        for place in places:
            Entry.read(place)
        return places

    @field_validator("uri_allow_networks", "webhook_allow_networks")
    @classmethod
    def _networks(cls, networks: tuple[str, ...]) -> tuple[str, ...]:
        for network in networks:
            ipaddress.ip_network(network)
        return networks

    @field_validator("device")
    @classmethod
    def _a_device(cls, device: str) -> str:
        if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", device):
            raise ValueError("should be auto, cpu, cuda or cuda:<n>")
        return device

    @field_validator("otel")
    @classmethod
    def _a_collector(cls, otel: str) -> str:
        if otel not in ("off", "console") and not otel.startswith(("http://", "https://")):
            raise ValueError("should be off, console or http://host:4318")
        return otel

    @field_validator("bootstrap_key")
    @classmethod
    def _of_our_shape(cls, key: SecretStr | None) -> SecretStr | None:
        if key is not None and not re.fullmatch(KEY_SHAPE, key.get_secret_value()):
            raise ValueError("must be sh_ and 26 to 128 random letters and digits")
        return key

    @field_validator("rate_limit")
    @classmethod
    def _a_rate(cls, rate: str) -> str:
        if rate not in ("auto", "off") and not re.fullmatch(RATE_SHAPE, rate):
            raise ValueError("must be like 600/minute, off or auto")
        return rate

    @property
    def database(self) -> str:
        """The SQLAlchemy URL, with the one driver for each database."""
        if not self.database_url:
            return f"sqlite:///{self.home.absolute() / 'stillhouse.db'}"
        for prefix in ("postgresql://", "postgres://"):
            if self.database_url.startswith(prefix):
                return "postgresql+psycopg://" + self.database_url.removeprefix(prefix)
        return self.database_url

    @property
    def asks_for_keys(self) -> bool:
        """Whether a request without a key is refused."""
        return self.auth == "on" or (self.auth == "auto" and not is_loopback(self.host))

    @property
    def rate(self) -> str | None:
        """Requests of one key in a second, minute, hour or day; None is any number."""
        if self.rate_limit == "auto":
            return "18000/minute" if self.asks_for_keys else None
        return None if self.rate_limit == "off" else self.rate_limit

    @property
    def quotas(self) -> tuple[int | None, int | None]:
        """Active jobs and stored bytes of a project that has no limits of its own."""
        jobs, stored = self.max_active_jobs, self.max_stored_bytes
        if self.asks_for_keys:
            jobs = 1000 if jobs is None else jobs
            stored = 1024 * 1024 * MIB if stored is None else stored
        return jobs, stored

    @property
    def memory_budget(self) -> int:
        """Bytes that one training may take, as far as this process can tell."""
        if self.memory_budget_bytes is not None:
            return self.memory_budget_bytes
        return machine_bytes()

    @property
    def process_memory(self) -> int:
        """Bytes that one trainer's process may use."""
        return self.process_memory_bytes or machine_bytes() * 9 // 10

    @property
    def process_file_bytes(self) -> int:
        """Bytes of the largest file that a training may write: a checkpoint, or soft targets."""
        return max(self.max_file_bytes, self.cache_bytes)

    @property
    def broker(self) -> str:
        """The broker's URL; without a setting, a Redis on its usual local port."""
        return self.broker_url or "redis://127.0.0.1:6379/0"


def is_loopback(host: str) -> bool:
    """Whether a server that listens there can be reached from this machine alone."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


@lru_cache
def get_settings() -> Settings:
    """Of this process's environment. Ends the process when something is wrong with it."""
    try:
        return Settings()
    except ValidationError as error:
        wrong = [(str(one["loc"][0]), one["msg"]) for one in error.errors(include_input=False)]
        refuse({name: message.removeprefix("Value error, ") for name, message in wrong})


def refuse(wrong: Mapping[str, str]) -> NoReturn:
    """Ends the process with exit code 2 and a line for each setting that is wrong."""
    for name, message in wrong.items():
        message = message.replace("Input should", "should")
        print(f"stillhouse: STILLHOUSE_{name.upper()}: {message}", file=sys.stderr)
    raise SystemExit(2)


def usable_home(settings: Settings) -> Path:
    """The data directory, made if it is not there; ends the process where that cannot be."""
    home = settings.home.absolute()
    try:
        home.mkdir(parents=True, exist_ok=True)
        if not os.access(home, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        refuse({"home": f"cannot write to {home}: {error.strerror}. Name a directory of yours."})
    return home
