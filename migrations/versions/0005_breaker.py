"""The circuit breaker: cells that failed alike since one was completed, and what it has paused."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0005"
down_revision: str | None = "0004"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None


def upgrade() -> None:
    op.create_table(
        "streaks",
        sa.Column("phase_id", sa.Integer(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("signature", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["phase_id"], ["phases.id"], name=op.f("fk_streaks_phase_id")),
        sa.ForeignKeyConstraint(
            ["signature"], ["tasks.signature"], name=op.f("fk_streaks_signature")
        ),
        sa.PrimaryKeyConstraint("phase_id", "kind", "signature", name=op.f("pk_streaks")),
    )
    op.create_table(
        "breakers",
        sa.Column("phase_id", sa.Integer(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("error", sa.Text(), nullable=False),
        sa.Column("cells", sa.Integer(), nullable=False),
        sa.Column("since", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(["phase_id"], ["phases.id"], name=op.f("fk_breakers_phase_id")),
        sa.PrimaryKeyConstraint("phase_id", name=op.f("pk_breakers")),
    )


def downgrade() -> None:
    raise RuntimeError("migrations only go forward")
