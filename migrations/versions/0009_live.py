"""Sweeps; webhooks and their messages; where attempts resume."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.add_column("job_events", sa.Column("kept_step", sa.BigInteger(), nullable=True))
    op.create_table(
        "webhooks",
        sa.Column("id", sa.String(length=48), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("events", sa.JSON(), nullable=True),
        sa.Column("salt", sa.String(length=64), nullable=False),
        sa.Column("old_salt", sa.String(length=64), nullable=True),
        sa.Column("old_until", TIME, nullable=True),
        sa.Column("made_with", sa.String(length=16), nullable=False),
        sa.Column("disabled_at", TIME, nullable=True),
        sa.Column("disabled_reason", sa.Text(), nullable=True),
        sa.Column("failing_since", TIME, nullable=True),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("project_id", sa.String(length=48), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhooks")),
    )
    op.create_index(
        op.f("ix_webhooks_project_id_created_at_id"), "webhooks", ["project_id", "created_at", "id"]
    )
    op.create_table(
        "webhook_deliveries",
        sa.Column("id", sa.String(length=48), nullable=False),
        sa.Column("webhook_id", sa.String(length=48), nullable=False),
        sa.Column("type", sa.String(length=32), nullable=False),
        sa.Column("payload", sa.Text(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("tries", sa.JSON(), nullable=False),
        sa.Column("due_at", TIME, nullable=True),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("ended_at", TIME, nullable=True),
        sa.Column("project_id", sa.String(length=48), nullable=False),
        sa.ForeignKeyConstraint(
            ["webhook_id"],
            ["webhooks.id"],
            name=op.f("fk_webhook_deliveries_webhook_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhook_deliveries")),
    )
    waiting = sa.text("state = 'waiting'")
    op.create_index(
        "ix_webhook_deliveries_listed", "webhook_deliveries", ["webhook_id", "created_at", "id"]
    )
    op.create_index(
        "ix_webhook_deliveries_due",
        "webhook_deliveries",
        ["due_at"],
        postgresql_where=waiting,
        sqlite_where=waiting,
    )
    op.create_index(op.f("ix_webhook_deliveries_created_at"), "webhook_deliveries", ["created_at"])
    op.create_table(
        "sweeps",
        sa.Column("id", sa.String(length=48), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("spec", sa.JSON(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("project_id", sa.String(length=48), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sweeps")),
    )
    op.create_index(
        op.f("ix_sweeps_project_id_created_at_id"), "sweeps", ["project_id", "created_at", "id"]
    )
    with op.batch_alter_table("jobs") as batch:
        batch.add_column(sa.Column("sweep_id", sa.String(length=48), nullable=True))
        batch.add_column(sa.Column("sweep_place", sa.Integer(), nullable=True))
        batch.create_foreign_key(op.f("fk_jobs_sweep_id"), "sweeps", ["sweep_id"], ["id"])
    some = sa.text("sweep_id IS NOT NULL")
    op.create_index("ix_jobs_sweep", "jobs", ["sweep_id"], postgresql_where=some, sqlite_where=some)


def downgrade() -> None:
    op.drop_index("ix_jobs_sweep", "jobs")
    with op.batch_alter_table("jobs") as batch:
        batch.drop_constraint(op.f("fk_jobs_sweep_id"), type_="foreignkey")
        batch.drop_column("sweep_place")
        batch.drop_column("sweep_id")
    op.drop_table("sweeps")
    op.drop_table("webhook_deliveries")
    op.drop_table("webhooks")
    op.drop_column("job_events", "kept_step")
