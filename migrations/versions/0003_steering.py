"""What steers a queue while it runs: paused phases, a person's priorities, drained workers."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0003"
down_revision: str | None = "0002"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

CLAIM = {"largest": "cost DESC", "smallest": "cost"}


def upgrade() -> None:
    op.create_table(
        "drains",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("worker", sa.Text(), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("device", sa.Text(), nullable=False),
        sa.Column("since", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_drains")),
        sa.UniqueConstraint("worker", "host", "device", name=op.f("uq_drains_worker_host_device")),
    )
    no = sa.text("0")
    op.add_column("phases", sa.Column("paused", sa.Boolean(), server_default=no, nullable=False))
    op.add_column("phases", sa.Column("asked_priority", sa.Integer(), nullable=True))
    op.add_column("task_phases", sa.Column("asked_priority", sa.Integer(), nullable=True))
    op.add_column("tasks", sa.Column("held", sa.Boolean(), server_default=no, nullable=False))
    condition = sa.text("state = 'PENDING' AND held = 0")
    for name, cost in CLAIM.items():
        op.drop_index(f"ix_tasks_claim_{name}", table_name="tasks")
        op.create_index(
            f"ix_tasks_claim_{name}",
            "tasks",
            [sa.text("priority DESC"), sa.text(cost), "id"],
            unique=False,
            sqlite_where=condition,
            postgresql_where=condition,
        )


def downgrade() -> None:
    raise RuntimeError("migrations only go forward")
