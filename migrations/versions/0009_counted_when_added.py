"""What is added is counted by whoever adds it: no trigger slows every insertion down."""

from collections.abc import Sequence

from alembic import op

revision: str = "0009"
down_revision: str | None = "0008"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

DROPPED = ("count_task", "count_wish", "count_link")


def upgrade() -> None:
    for each in DROPPED:
        op.execute(f"DROP TRIGGER {each}")


def downgrade() -> None:
    raise RuntimeError("migrations only go forward")
