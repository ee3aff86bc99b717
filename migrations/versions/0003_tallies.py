"""What sweepers count together, and how long a step takes a worker at least."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "tallies",
        sa.Column("name", sa.String(length=32), nullable=False),
        sa.Column("value", sa.BigInteger(), nullable=False),
        sa.Column("counted_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_tallies")),
    )
    op.add_column("workers", sa.Column("step_s", sa.Double(), nullable=True))


def downgrade() -> None:
    op.drop_column("workers", "step_s")
    op.drop_table("tallies")
