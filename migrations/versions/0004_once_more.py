"""Tasks that run once more, and what an attempt ran with."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0004"
down_revision: str | None = "0003"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

SHORTER = """
UPDATE attempts SET code_version =
    substr(code_version, 1, 10) || CASE WHEN code_version LIKE '%-dirty' THEN '+changed' ELSE '' END
WHERE length(code_version) >= 40
"""
"""A whole commit, perhaps with `-dirty` after it, was how a version was written before."""


def upgrade() -> None:
    more = {"tasks": ("rerun_after", sa.Integer(), "0"), "attempts": ("versions", sa.Text(), "{}")}
    for table, (name, kind, default) in more.items():
        op.add_column(table, sa.Column(name, kind, server_default=default, nullable=False))
    ever = sa.text("rerun_after > 0")
    op.create_index(
        "ix_tasks_rerun", "tasks", ["state"], unique=False, sqlite_where=ever, postgresql_where=ever
    )
    op.execute(SHORTER)


def downgrade() -> None:
    raise RuntimeError("migrations only go forward")
