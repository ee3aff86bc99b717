"""What every row has in common. ("Model" means a network here.)"""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, MetaData, String, Text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from app.db import UTCDateTime, now

# Never JSONB: nothing searches inside, and clients get their fields back in the order they sent.
# A missing document is SQL's NULL, not the JSON value null.
Json = JSON(none_as_null=True)


class Row(DeclarativeBase):
    metadata = MetaData(
        naming_convention={
            "pk": "pk_%(table_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        }
    )
    type_annotation_map = {  # noqa: RUF012  (SQLAlchemy reads it from the class)
        datetime: UTCDateTime,
        dict[str, Any]: Json,
        list[Any]: Json,
        str: Text,
    }


def row_id() -> Mapped[str]:
    return mapped_column(String(48), primary_key=True)


def created() -> Mapped[datetime]:
    return mapped_column(default=now())


DEFAULT_PROJECT = "prj_default"
"""Made by the migrations: what is done without a key is done in its name."""


class Owned:
    """What belongs to a project. `app.tenancy` keeps it there."""

    # No foreign key: each insert would lock the row that all inserts of a project share, and
    # projects are never deleted.
    project_id: Mapped[str] = mapped_column(String(48))
