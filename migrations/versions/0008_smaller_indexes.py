"""A result is in one index of signatures, not in two; requests are looked for among what runs."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0008"
down_revision: str | None = "0007"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None


def upgrade() -> None:
    for table, name in (
        ("results", "ix_results_signature"),
        ("results", "ix_results_accepted"),
        ("attempts", "ix_attempts_request"),
    ):
        op.drop_index(name, table_name=table)
    op.create_index(
        "ix_results_accepted",
        "results",
        ["signature"],
        unique=True,
        sqlite_where=sa.text("accepted = 1"),
    )
    op.create_index(
        "ix_results_further", "results", ["signature"], sqlite_where=sa.text("accepted = 0")
    )
    op.create_index(
        "ix_attempts_request", "attempts", ["request_id"], sqlite_where=sa.text("outcome IS NULL")
    )


def downgrade() -> None:
    raise RuntimeError("migrations only go forward")
