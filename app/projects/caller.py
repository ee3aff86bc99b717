"""Who asks."""

import time
from dataclasses import dataclass, field

from starlette.types import Scope as AsgiScope

from app.projects.keys import Scope
from app.tables import DEFAULT_PROJECT


@dataclass
class Usage:
    """What a project was last seen to store, shared by the requests of this process."""

    stored_bytes: int = 0
    measured_at: float = -1e9
    """time.monotonic()."""

    def note(self, stored_bytes: int) -> None:
        self.stored_bytes, self.measured_at = stored_bytes, time.monotonic()

    def older_than(self, seconds: float) -> bool:
        return time.monotonic() - self.measured_at > seconds


@dataclass(frozen=True)
class Caller:
    """A verified key, or anybody where none is asked for, with the limits of the project."""

    project_id: str
    key_id: str | None
    scopes: frozenset[str]
    max_active_jobs: int | None = None
    """Null: as many as come."""
    max_stored_bytes: int | None = None
    usage: Usage = field(default_factory=Usage, compare=False)

    def may(self, scope: Scope) -> bool:
        """`admin` may do everything."""
        return scope in self.scopes or "admin" in self.scopes

    @property
    def is_operator(self) -> bool:
        """An admin of the default project runs the service; one of another, only that project."""
        return "admin" in self.scopes and self.project_id == DEFAULT_PROJECT


def caller_of(scope: AsgiScope) -> Caller:
    """Whom the gate has let in. Raises KeyError at addresses that are open to all."""
    caller: Caller = scope["state"]["caller"]
    return caller
