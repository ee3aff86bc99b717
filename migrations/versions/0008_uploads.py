"""Uploads in parts, evaluations, and the logs of jobs."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0005"
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "uploads",
        sa.Column("id", sa.String(48), nullable=False),
        sa.Column("project_id", sa.String(48), nullable=False),
        sa.Column("filename", sa.Text(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("part_size", sa.BigInteger(), nullable=False),
        sa.Column("file_id", sa.String(48), nullable=True),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("expires_at", TIME, nullable=False),
        sa.ForeignKeyConstraint(
            ["file_id"], ["files.id"], name=op.f("fk_uploads_file_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_uploads")),
    )
    op.create_index(
        op.f("ix_uploads_project_id_created_at_id"), "uploads", ["project_id", "created_at", "id"]
    )
    op.create_index(op.f("ix_uploads_expires_at"), "uploads", ["expires_at"])
    op.create_index(op.f("ix_uploads_file_id"), "uploads", ["file_id"])
    op.create_table(
        "upload_parts",
        sa.Column("upload_id", sa.String(48), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["upload_id"],
            ["uploads.id"],
            name=op.f("fk_upload_parts_upload_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(["sha256"], ["blobs.sha256"], name=op.f("fk_upload_parts_sha256")),
        sa.PrimaryKeyConstraint("upload_id", "number", name=op.f("pk_upload_parts")),
    )
    op.create_index(op.f("ix_upload_parts_sha256"), "upload_parts", ["sha256"])
    op.create_table(
        "evaluations",
        sa.Column("id", sa.String(48), nullable=False),
        sa.Column("project_id", sa.String(48), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("error", sa.JSON(), nullable=True),
        sa.Column("teacher_id", sa.String(48), nullable=True),
        sa.Column("job_id", sa.String(48), nullable=True),
        sa.Column("dataset_id", sa.String(48), nullable=False),
        sa.Column("split", sa.String(16), nullable=False),
        sa.Column("network", sa.JSON(), nullable=False),
        sa.Column("preprocess", sa.JSON(), nullable=True),
        sa.Column("class_names", sa.JSON(), nullable=True),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("key", sa.String(64), nullable=False),
        sa.Column("result", sa.JSON(), nullable=True),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("finished_at", TIME, nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_evaluations")),
    )
    op.create_index(
        op.f("ix_evaluations_project_id_created_at_id"),
        "evaluations",
        ["project_id", "created_at", "id"],
    )
    op.create_index(op.f("ix_evaluations_key"), "evaluations", ["key"])
    op.create_index("ix_evaluations_state_created", "evaluations", ["state", "created_at"])
    op.create_table(
        "job_logs",
        sa.Column("job_id", sa.String(48), nullable=False),
        sa.Column("start", sa.BigInteger(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["job_id"], ["jobs.id"], name=op.f("fk_job_logs_job_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("job_id", "start", name=op.f("pk_job_logs")),
    )


def downgrade() -> None:
    op.drop_table("job_logs")
    op.drop_table("evaluations")
    op.drop_table("upload_parts")
    op.drop_table("uploads")
