"""What moves many tasks at once may count them by itself: the triggers hold still meanwhile."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0007"
down_revision: str | None = "0006"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None


def upgrade() -> None:
    op.create_table(
        "uncounted",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_uncounted")),
    )
    for each in TRIGGERS:
        op.execute(f"DROP TRIGGER {each.split()[2]}")
        op.execute(each)


def downgrade() -> None:
    raise RuntimeError("migrations only go forward")


TRIGGERS = (
    "CREATE TRIGGER count_task AFTER INSERT ON tasks WHEN NOT EXISTS (SELECT 1 FROM "
    "uncounted) BEGIN INSERT INTO tallies (phase_id, state, shape_id, priority, held, "
    "cells) SELECT 0, NEW.state, CASE WHEN NEW.state IN ('PENDING', 'RUNNING') THEN "
    "NEW.shape_id ELSE 0 END, CASE WHEN NEW.state = 'PENDING' THEN NEW.priority ELSE 0 "
    "END, CASE WHEN NEW.state = 'PENDING' THEN NEW.held ELSE 0 END, 1 WHERE true ON "
    "CONFLICT (phase_id, state, shape_id, priority, held) DO UPDATE SET cells = cells + "
    "1; END",
    "CREATE TRIGGER count_task_gone AFTER DELETE ON tasks BEGIN UPDATE tallies SET cells "
    "= cells - 1 WHERE phase_id IN (0) AND (state, shape_id, priority, held) = (SELECT "
    "OLD.state, CASE WHEN OLD.state IN ('PENDING', 'RUNNING') THEN OLD.shape_id ELSE 0 "
    "END, CASE WHEN OLD.state = 'PENDING' THEN OLD.priority ELSE 0 END, CASE WHEN "
    "OLD.state = 'PENDING' THEN OLD.held ELSE 0 END); END",
    "CREATE TRIGGER count_task_changed AFTER UPDATE OF state, shape_id, priority, held ON"
    " tasks WHEN (OLD.state <> NEW.state OR OLD.shape_id <> NEW.shape_id OR OLD.priority "
    "<> NEW.priority OR OLD.held <> NEW.held) AND NOT EXISTS (SELECT 1 FROM uncounted) "
    "BEGIN UPDATE tallies SET cells = cells - 1 WHERE phase_id IN (SELECT phase_id FROM "
    "(SELECT 0 AS phase_id UNION ALL SELECT phase_id FROM task_phases WHERE signature = "
    "OLD.signature AND withdrawn = 0)) AND (state, shape_id, priority, held) = (SELECT "
    "OLD.state, CASE WHEN OLD.state IN ('PENDING', 'RUNNING') THEN OLD.shape_id ELSE 0 "
    "END, CASE WHEN OLD.state = 'PENDING' THEN OLD.priority ELSE 0 END, CASE WHEN "
    "OLD.state = 'PENDING' THEN OLD.held ELSE 0 END); INSERT INTO tallies (phase_id, "
    "state, shape_id, priority, held, cells) SELECT phase_id, NEW.state, CASE WHEN "
    "NEW.state IN ('PENDING', 'RUNNING') THEN NEW.shape_id ELSE 0 END, CASE WHEN "
    "NEW.state = 'PENDING' THEN NEW.priority ELSE 0 END, CASE WHEN NEW.state = 'PENDING' "
    "THEN NEW.held ELSE 0 END, 1 FROM (SELECT 0 AS phase_id UNION ALL SELECT phase_id "
    "FROM task_phases WHERE signature = NEW.signature AND withdrawn = 0) WHERE true ON "
    "CONFLICT (phase_id, state, shape_id, priority, held) DO UPDATE SET cells = cells + "
    "1; END",
    "CREATE TRIGGER count_task_moved AFTER UPDATE OF state ON tasks WHEN OLD.state <> "
    "NEW.state AND NOT EXISTS (SELECT 1 FROM uncounted) BEGIN UPDATE directory_tallies "
    "SET cells = cells - 1 WHERE directory_id IN (SELECT directory_id FROM "
    "task_output_dirs WHERE signature = OLD.signature) AND state = (OLD.state); INSERT "
    "INTO directory_tallies (directory_id, state, cells) SELECT directory_id, NEW.state, "
    "1 FROM (SELECT directory_id FROM task_output_dirs WHERE signature = NEW.signature) "
    "WHERE true ON CONFLICT (directory_id, state) DO UPDATE SET cells = cells + 1; END",
    "CREATE TRIGGER count_wish AFTER INSERT ON task_phases WHEN NEW.withdrawn = 0 AND NOT"
    " EXISTS (SELECT 1 FROM uncounted) BEGIN INSERT INTO tallies (phase_id, state, "
    "shape_id, priority, held, cells) SELECT NEW.phase_id, tasks.state, CASE WHEN "
    "tasks.state IN ('PENDING', 'RUNNING') THEN tasks.shape_id ELSE 0 END, CASE WHEN "
    "tasks.state = 'PENDING' THEN tasks.priority ELSE 0 END, CASE WHEN tasks.state = "
    "'PENDING' THEN tasks.held ELSE 0 END, 1 FROM tasks WHERE tasks.signature = "
    "NEW.signature ON CONFLICT (phase_id, state, shape_id, priority, held) DO UPDATE SET "
    "cells = cells + 1; END",
    "CREATE TRIGGER count_wish_gone AFTER DELETE ON task_phases WHEN OLD.withdrawn = 0 "
    "BEGIN UPDATE tallies SET cells = cells - 1 WHERE phase_id IN (OLD.phase_id) AND "
    "(state, shape_id, priority, held) = (SELECT tasks.state, CASE WHEN tasks.state IN "
    "('PENDING', 'RUNNING') THEN tasks.shape_id ELSE 0 END, CASE WHEN tasks.state = "
    "'PENDING' THEN tasks.priority ELSE 0 END, CASE WHEN tasks.state = 'PENDING' THEN "
    "tasks.held ELSE 0 END FROM tasks WHERE tasks.signature = OLD.signature); END",
    "CREATE TRIGGER count_wish_withdrawn AFTER UPDATE OF withdrawn ON task_phases WHEN "
    "OLD.withdrawn = 0 AND NEW.withdrawn = 1 BEGIN UPDATE tallies SET cells = cells - 1 "
    "WHERE phase_id IN (OLD.phase_id) AND (state, shape_id, priority, held) = (SELECT "
    "tasks.state, CASE WHEN tasks.state IN ('PENDING', 'RUNNING') THEN tasks.shape_id "
    "ELSE 0 END, CASE WHEN tasks.state = 'PENDING' THEN tasks.priority ELSE 0 END, CASE "
    "WHEN tasks.state = 'PENDING' THEN tasks.held ELSE 0 END FROM tasks WHERE "
    "tasks.signature = OLD.signature); END",
    "CREATE TRIGGER count_wish_again AFTER UPDATE OF withdrawn ON task_phases WHEN "
    "OLD.withdrawn = 1 AND NEW.withdrawn = 0 BEGIN INSERT INTO tallies (phase_id, state, "
    "shape_id, priority, held, cells) SELECT NEW.phase_id, tasks.state, CASE WHEN "
    "tasks.state IN ('PENDING', 'RUNNING') THEN tasks.shape_id ELSE 0 END, CASE WHEN "
    "tasks.state = 'PENDING' THEN tasks.priority ELSE 0 END, CASE WHEN tasks.state = "
    "'PENDING' THEN tasks.held ELSE 0 END, 1 FROM tasks WHERE tasks.signature = "
    "NEW.signature ON CONFLICT (phase_id, state, shape_id, priority, held) DO UPDATE SET "
    "cells = cells + 1; END",
    "CREATE TRIGGER count_link AFTER INSERT ON task_output_dirs WHEN NOT EXISTS (SELECT 1"
    " FROM uncounted) BEGIN INSERT INTO directory_tallies (directory_id, state, cells) "
    "SELECT NEW.directory_id, tasks.state, 1 FROM tasks WHERE tasks.signature = "
    "NEW.signature ON CONFLICT (directory_id, state) DO UPDATE SET cells = cells + 1; END",
    "CREATE TRIGGER count_link_gone AFTER DELETE ON task_output_dirs BEGIN UPDATE "
    "directory_tallies SET cells = cells - 1 WHERE directory_id IN (OLD.directory_id) AND"
    " state = (SELECT tasks.state FROM tasks WHERE tasks.signature = OLD.signature); END",
    "CREATE TRIGGER count_link_moved AFTER UPDATE OF directory_id ON task_output_dirs "
    "BEGIN UPDATE directory_tallies SET cells = cells - 1 WHERE directory_id IN "
    "(OLD.directory_id) AND state = (SELECT tasks.state FROM tasks WHERE tasks.signature "
    "= OLD.signature); INSERT INTO directory_tallies (directory_id, state, cells) SELECT "
    "NEW.directory_id, tasks.state, 1 FROM tasks WHERE tasks.signature = NEW.signature ON"
    " CONFLICT (directory_id, state) DO UPDATE SET cells = cells + 1; END",
)
