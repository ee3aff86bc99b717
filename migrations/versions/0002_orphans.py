"""Since when a blob is an orphan; indexes to find out, and to expire idempotency keys."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

REFERRERS = ("files", "teachers", "datasets", "artifacts")


def upgrade() -> None:
    op.add_column("blobs", sa.Column("orphaned_at", sa.DateTime(timezone=True), nullable=True))
    op.create_index("ix_blobs_orphaned_at", "blobs", ["orphaned_at"])
    for table in REFERRERS:
        op.create_index(f"ix_{table}_sha256", table, ["sha256"])
    op.create_index("ix_idempotency_keys_created_at", "idempotency_keys", ["created_at"])


def downgrade() -> None:
    op.drop_index("ix_idempotency_keys_created_at", "idempotency_keys")
    for table in REFERRERS:
        op.drop_index(f"ix_{table}_sha256", table)
    op.drop_index("ix_blobs_orphaned_at", "blobs")
    op.drop_column("blobs", "orphaned_at")
