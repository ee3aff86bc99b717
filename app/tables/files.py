"""Bytes, and how they come in."""

from datetime import datetime

from sqlalchemy import BigInteger, ForeignKey, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from app.tables.base import Owned, Row, created, row_id


class Blob(Row):
    """Bytes in storage, known by their hash and stored once."""

    __tablename__ = "blobs"
    __table_args__ = (Index(None, "orphaned_at"),)

    sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    size: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[datetime] = created()
    orphaned_at: Mapped[datetime | None]
    """Since when no row refers to it, as far as anybody has looked."""


class File(Owned, Row):
    """A client's name for a blob."""

    __tablename__ = "files"
    __table_args__ = (Index(None, "sha256"), Index(None, "project_id", "created_at", "id"))

    id: Mapped[str] = row_id()
    filename: Mapped[str]
    sha256: Mapped[str] = mapped_column(ForeignKey("blobs.sha256"))
    size: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[datetime] = created()


class Upload(Owned, Row):
    """A file that comes in parts; it becomes one when all of them are there."""

    __tablename__ = "uploads"
    __table_args__ = (
        Index(None, "project_id", "created_at", "id"),
        Index(None, "expires_at"),
        Index(None, "file_id"),
    )

    id: Mapped[str] = row_id()
    filename: Mapped[str]
    size: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str] = mapped_column(String(64))
    """Of the whole, as announced."""
    part_size: Mapped[int] = mapped_column(BigInteger)
    file_id: Mapped[str | None] = mapped_column(ForeignKey("files.id", ondelete="CASCADE"))
    """Null until it is complete."""
    created_at: Mapped[datetime] = created()
    expires_at: Mapped[datetime]


class UploadPart(Row):
    """A part that has arrived: a blob, until the upload is complete or has expired."""

    __tablename__ = "upload_parts"
    __table_args__ = (Index(None, "sha256"),)

    upload_id: Mapped[str] = mapped_column(
        ForeignKey("uploads.id", ondelete="CASCADE"), primary_key=True
    )
    number: Mapped[int] = mapped_column(primary_key=True)
    """From 1."""
    sha256: Mapped[str] = mapped_column(ForeignKey("blobs.sha256"))
    size: Mapped[int] = mapped_column(BigInteger)
