"""The rows of CSVs stand in a table of their own, in their order; few states have an index."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0010"
down_revision: str | None = "0009"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

TRIGGERS = (
    "SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND sql LIKE '%task_output_dirs%'"
)
COLUMNS = "id, signature, directory_id"


def upgrade() -> None:
    _rows()
    _links()
    op.drop_index("ix_tasks_state", table_name="tasks")
    few = sa.text("state NOT IN ('PENDING', 'COMPLETED')")
    op.create_index("ix_tasks_few", "tasks", ["state"], sqlite_where=few)
    held = sa.text("state = 'PENDING' AND held = 1")
    op.create_index("ix_tasks_held", "tasks", ["id"], sqlite_where=held)


def _points_to_directory_and_task(table: str) -> list[sa.ForeignKeyConstraint]:
    return [
        sa.ForeignKeyConstraint([column], [to], name=op.f(f"fk_{table}_{column}"))
        for column, to in (
            ("directory_id", "output_directories.id"),
            ("signature", "tasks.signature"),
        )
    ]


def _rows() -> None:
    op.create_table(
        "csv_rows",
        sa.Column("directory_id", sa.Integer(), nullable=False),
        sa.Column("row_number", sa.Integer(), nullable=False),
        sa.Column("signature", sa.Text(), nullable=False),
        *_points_to_directory_and_task("csv_rows"),
        sa.PrimaryKeyConstraint("directory_id", "row_number", name=op.f("pk_csv_rows")),
        sqlite_with_rowid=False,
    )
    op.execute(
        "INSERT INTO csv_rows (directory_id, row_number, signature) "
        "SELECT directory_id, row_number, signature FROM task_output_dirs "
        "WHERE row_number IS NOT NULL ORDER BY directory_id, row_number"
    )


def _links() -> None:
    """A column that is part of a key goes only with its table; what counts links stands still."""
    connection = op.get_bind()
    triggers = connection.execute(sa.text(TRIGGERS)).all()
    for name, _ in triggers:
        op.execute(f"DROP TRIGGER {name}")
    op.rename_table("task_output_dirs", "links_before")
    op.create_table(
        "task_output_dirs",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("signature", sa.Text(), nullable=False),
        sa.Column("directory_id", sa.Integer(), nullable=False),
        *_points_to_directory_and_task("task_output_dirs"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_task_output_dirs")),
        sa.UniqueConstraint(
            "signature", "directory_id", name=op.f("uq_task_output_dirs_signature_directory_id")
        ),
    )
    op.execute(
        f"INSERT INTO task_output_dirs ({COLUMNS}) SELECT {COLUMNS} FROM links_before ORDER BY id"
    )
    op.drop_table("links_before")
    for _, sql in triggers:
        op.execute(sql)


def downgrade() -> None:
    raise RuntimeError("migrations only go forward")
