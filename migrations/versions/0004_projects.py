"""Projects with their keys and audit; whose every file, teacher, data set and job is."""

from datetime import UTC, datetime

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

DEFAULT_PROJECT = "prj_default"
ROW_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
LISTED = ("teachers", "datasets", "jobs")


def upgrade() -> None:
    projects = op.create_table(
        "projects",
        sa.Column("id", sa.String(length=48), nullable=False),
        sa.Column("name", sa.String(length=63), nullable=False),
        sa.Column("max_active_jobs", sa.Integer(), nullable=True),
        sa.Column("max_stored_bytes", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_projects")),
        sa.UniqueConstraint("name", name=op.f("uq_projects_name")),
    )
    op.create_index(op.f("ix_projects_created_at_id"), "projects", ["created_at", "id"])
    op.execute(
        projects.insert().values(id=DEFAULT_PROJECT, name="default", created_at=datetime.now(UTC))
    )
    op.create_table(
        "api_keys",
        sa.Column("id", sa.String(length=48), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("start", sa.String(length=16), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("scopes", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_used_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("project_id", sa.String(length=48), nullable=False),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name=op.f("fk_api_keys_project_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_keys")),
        sa.UniqueConstraint("sha256", name=op.f("uq_api_keys_sha256")),
    )
    op.create_index(
        op.f("ix_api_keys_project_id_created_at_id"), "api_keys", ["project_id", "created_at", "id"]
    )
    op.create_table(
        "audit",
        sa.Column("id", ROW_ID, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("key_id", sa.String(length=48), nullable=True),
        sa.Column("action", sa.String(length=64), nullable=False),
        sa.Column("subject", sa.String(length=200), nullable=True),
        sa.Column("request_id", sa.String(length=128), nullable=True),
        sa.Column("project_id", sa.String(length=48), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit")),
    )
    op.create_index(op.f("ix_audit_project_id_id"), "audit", ["project_id", "id"])

    for table in ("files", *LISTED):
        _give_to_the_default_project(table)
        op.create_index(
            op.f(f"ix_{table}_project_id_created_at_id"), table, ["project_id", "created_at", "id"]
        )
    for table in LISTED:
        op.drop_index(op.f(f"ix_{table}_created_at_id"), table)
    unfinished = sa.text("finished_at IS NULL")
    op.create_index(
        "ix_jobs_active",
        "jobs",
        ["project_id"],
        postgresql_where=unfinished,
        sqlite_where=unfinished,
    )
    _give_to_the_default_project("idempotency_keys")
    with op.batch_alter_table("idempotency_keys") as batch:
        batch.drop_constraint("pk_idempotency_keys", type_="primary")
        batch.create_primary_key("pk_idempotency_keys", ["project_id", "key", "operation"])


def _give_to_the_default_project(table: str) -> None:
    """What is there becomes its; what comes must say whose it is."""
    with op.batch_alter_table(table) as batch:
        batch.add_column(
            sa.Column(
                "project_id",
                sa.String(length=48),
                nullable=False,
                server_default=DEFAULT_PROJECT,
            )
        )
    with op.batch_alter_table(table) as batch:
        batch.alter_column("project_id", server_default=None)


def downgrade() -> None:
    with op.batch_alter_table("idempotency_keys") as batch:
        batch.drop_constraint("pk_idempotency_keys", type_="primary")
        batch.drop_column("project_id")
        batch.create_primary_key("pk_idempotency_keys", ["key", "operation"])
    op.drop_index("ix_jobs_active", "jobs")
    for table in LISTED:
        op.create_index(op.f(f"ix_{table}_created_at_id"), table, ["created_at", "id"])
    for table in ("files", *LISTED):
        op.drop_index(op.f(f"ix_{table}_project_id_created_at_id"), table)
        with op.batch_alter_table(table) as batch:
            batch.drop_column("project_id")
    op.drop_table("audit")
    op.drop_table("api_keys")
    op.drop_table("projects")
