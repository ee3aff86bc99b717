"""A container's health check: has the worker of this machine signed in lately?"""

import socket
import sys

from sqlalchemy import select

from app.db import Database, now_plus
from app.settings import get_settings
from app.tables import Worker

SILENT_S = 60.0
"""Six missed heartbeats."""


def main() -> int:
    database = Database(get_settings().database)
    with database.reading() as session:
        found = session.scalar(
            select(Worker.id).where(
                Worker.id.endswith(f"@{socket.gethostname()}", autoescape=True),
                Worker.seen_at > now_plus(-SILENT_S),
            )
        )
    return 0 if found else 1


if __name__ == "__main__":
    sys.exit(main())
