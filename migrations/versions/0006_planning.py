"""What planning ahead needs: what cells take, counts kept by triggers, which files were given."""

import json
from collections import defaultdict, deque
from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

# As they are in the version that runs this: a later form of them brings a migration of its own,
# which makes shapes anew.
from sqlqueue.plan.pace import Shape, kind_of, shape_of

revision: str = "0006"
down_revision: str | None = "0005"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

MOST_SHAPES = 2000
LAST_RUNS = 9
BATCH = 1000


def upgrade() -> None:
    _make_tables()
    connection = op.get_bind()
    _shape(connection)
    _make_index()
    _learn(connection)
    _count(connection)
    for each in TRIGGERS:
        op.execute(each)


def _make_tables() -> None:
    no = sa.text("0")
    op.add_column("tasks", sa.Column("shape_id", sa.Integer(), server_default=no, nullable=False))
    op.add_column(
        "task_phases", sa.Column("given", sa.Integer(), server_default=no, nullable=False)
    )
    op.create_table(
        "shapes",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("experiment", sa.Text(), nullable=False),
        sa.Column("cost", sa.Float(), nullable=False),
        sa.Column("parameters", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["experiment"], ["experiments.name"], name=op.f("fk_shapes_experiment")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_shapes")),
        sa.UniqueConstraint("key", name=op.f("uq_shapes_key")),
    )
    op.create_table(
        "paces",
        sa.Column("shape_id", sa.Integer(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("runs", sa.Integer(), nullable=False),
        sa.Column("seconds", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["shape_id"], ["shapes.id"], name=op.f("fk_paces_shape_id")),
        sa.PrimaryKeyConstraint("shape_id", "kind", name=op.f("pk_paces")),
    )
    op.create_table(
        "phase_files",
        sa.Column("phase_id", sa.Integer(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["phase_id"], ["phases.id"], name=op.f("fk_phase_files_phase_id")),
        sa.PrimaryKeyConstraint("phase_id", "path", name=op.f("pk_phase_files")),
    )
    _make_counts()


def _make_index() -> None:
    condition = sa.text("state = 'PENDING' AND held = 0")
    op.create_index(
        "ix_tasks_claim_shape",
        "tasks",
        ["shape_id", sa.text("priority DESC"), "id"],
        unique=False,
        sqlite_where=condition,
        postgresql_where=condition,
    )


def _make_counts() -> None:
    op.create_table(
        "tallies",
        sa.Column("phase_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("shape_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("priority", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("held", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("cells", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint(
            "phase_id", "state", "shape_id", "priority", "held", name=op.f("pk_tallies")
        ),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "directory_tallies",
        sa.Column("directory_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("cells", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("directory_id", "state", name=op.f("pk_directory_tallies")),
        sqlite_with_rowid=False,
    )


def _shape(connection: sa.Connection) -> None:
    """Tasks that are there get their shapes, in bites."""
    ids: dict[str, int] = {}
    after = 0
    query = sa.text(
        "SELECT id, experiment, parameters, runtime_only, cost FROM tasks "
        "WHERE id > :after ORDER BY id LIMIT :most"
    )
    change = sa.text("UPDATE tasks SET shape_id = :shape WHERE id = :task")
    while rows := connection.execute(query, {"after": after, "most": BATCH}).all():
        changes = []
        for key, experiment, parameters, runtime_only, cost in rows:
            shape = shape_of(experiment, json.loads(parameters), json.loads(runtime_only), cost)
            changes.append({"task": key, "shape": _shape_id(connection, shape, ids)})
        connection.execute(change, changes)
        after = rows[-1][0]


def _shape_id(connection: sa.Connection, shape: Shape, ids: dict[str, int]) -> int:
    if shape.key not in ids and len(ids) >= MOST_SHAPES:
        shape = shape.coarse
    if shape.key not in ids:
        ids[shape.key] = len(ids) + 1
        row = {
            "id": ids[shape.key],
            "key": shape.key,
            "experiment": shape.experiment,
            "cost": shape.cost,
            "parameters": json.dumps(shape.parameters),
        }
        names = ", ".join(row)
        values = ", ".join(f":{name}" for name in row)
        connection.execute(sa.text(f"INSERT INTO shapes ({names}) VALUES ({values})"), row)
    return ids[shape.key]


def _learn(connection: sa.Connection) -> None:
    """What those took that were completed at the first attempt."""
    last: dict[tuple[int, str], deque[float]] = defaultdict(lambda: deque(maxlen=LAST_RUNS))
    runs: dict[tuple[int, str], int] = defaultdict(int)
    query = sa.text(
        "SELECT tasks.shape_id, attempts.device, attempts.seconds FROM attempts "
        "JOIN tasks ON tasks.signature = attempts.signature "
        "WHERE attempts.outcome = 'COMPLETED' AND attempts.seconds > 0 AND attempts.number = 1 "
        "ORDER BY attempts.id"
    )
    for shape, device, seconds in connection.execute(query):
        last[shape, kind_of(device)].append(seconds)
        runs[shape, kind_of(device)] += 1
    rows = [
        {"shape": shape, "kind": kind, "runs": runs[shape, kind], "seconds": json.dumps(list(each))}
        for (shape, kind), each in last.items()
    ]
    if rows:
        insert = "INSERT INTO paces (shape_id, kind, runs, seconds) "
        connection.execute(sa.text(insert + "VALUES (:shape, :kind, :runs, :seconds)"), rows)


def _count(connection: sa.Connection) -> None:
    key = (
        "tasks.state, "
        "CASE WHEN tasks.state IN ('PENDING', 'RUNNING') THEN tasks.shape_id ELSE 0 END, "
        "CASE WHEN tasks.state = 'PENDING' THEN tasks.priority ELSE 0 END, "
        "CASE WHEN tasks.state = 'PENDING' THEN tasks.held ELSE 0 END"
    )
    into = "INSERT INTO tallies (phase_id, state, shape_id, priority, held, cells) "
    group = "GROUP BY 1, 2, 3, 4, 5"
    connection.execute(sa.text(f"{into} SELECT 0, {key}, count(*) FROM tasks {group}"))
    wished = "FROM task_phases JOIN tasks ON tasks.signature = task_phases.signature"
    connection.execute(
        sa.text(
            f"{into} SELECT task_phases.phase_id, {key}, count(*) {wished} "
            f"WHERE task_phases.withdrawn = 0 {group}"
        )
    )
    connection.execute(
        sa.text(
            "INSERT INTO directory_tallies (directory_id, state, cells) "
            "SELECT task_output_dirs.directory_id, tasks.state, count(*) FROM task_output_dirs "
            "JOIN tasks ON tasks.signature = task_output_dirs.signature GROUP BY 1, 2"
        )
    )


def downgrade() -> None:
    raise RuntimeError("migrations only go forward")


# fmt: off
TRIGGERS = (
    "CREATE TRIGGER count_task AFTER INSERT ON tasks BEGIN INSERT INTO tallies "
    "(phase_id, state, shape_id, priority, held, cells) SELECT 0, NEW.state, CASE WHEN "
    "NEW.state IN ('PENDING', 'RUNNING') THEN NEW.shape_id ELSE 0 END, CASE WHEN "
    "NEW.state = 'PENDING' THEN NEW.priority ELSE 0 END, CASE WHEN NEW.state = 'PENDING' "
    "THEN NEW.held ELSE 0 END, 1 WHERE true ON CONFLICT (phase_id, state, shape_id, "
    "priority, held) DO UPDATE SET cells = cells + 1; END",
    "CREATE TRIGGER count_task_gone AFTER DELETE ON tasks BEGIN UPDATE tallies SET cells "
    "= cells - 1 WHERE phase_id IN (0) AND (state, shape_id, priority, held) = (SELECT "
    "OLD.state, CASE WHEN OLD.state IN ('PENDING', 'RUNNING') THEN OLD.shape_id ELSE 0 "
    "END, CASE WHEN OLD.state = 'PENDING' THEN OLD.priority ELSE 0 END, CASE WHEN "
    "OLD.state = 'PENDING' THEN OLD.held ELSE 0 END); END",
    "CREATE TRIGGER count_task_changed AFTER UPDATE OF state, shape_id, priority, held "
    "ON tasks WHEN OLD.state <> NEW.state OR OLD.shape_id <> NEW.shape_id OR "
    "OLD.priority <> NEW.priority OR OLD.held <> NEW.held BEGIN UPDATE tallies SET cells "
    "= cells - 1 WHERE phase_id IN (SELECT phase_id FROM (SELECT 0 AS phase_id UNION ALL "
    "SELECT phase_id FROM task_phases WHERE signature = OLD.signature AND withdrawn = "
    "0)) AND (state, shape_id, priority, held) = (SELECT OLD.state, CASE WHEN OLD.state "
    "IN ('PENDING', 'RUNNING') THEN OLD.shape_id ELSE 0 END, CASE WHEN OLD.state = "
    "'PENDING' THEN OLD.priority ELSE 0 END, CASE WHEN OLD.state = 'PENDING' THEN "
    "OLD.held ELSE 0 END); INSERT INTO tallies (phase_id, state, shape_id, priority, "
    "held, cells) SELECT phase_id, NEW.state, CASE WHEN NEW.state IN ('PENDING', "
    "'RUNNING') THEN NEW.shape_id ELSE 0 END, CASE WHEN NEW.state = 'PENDING' THEN "
    "NEW.priority ELSE 0 END, CASE WHEN NEW.state = 'PENDING' THEN NEW.held ELSE 0 END, "
    "1 FROM (SELECT 0 AS phase_id UNION ALL SELECT phase_id FROM task_phases WHERE "
    "signature = NEW.signature AND withdrawn = 0) WHERE true ON CONFLICT (phase_id, "
    "state, shape_id, priority, held) DO UPDATE SET cells = cells + 1; END",
    "CREATE TRIGGER count_task_moved AFTER UPDATE OF state ON tasks WHEN OLD.state <> "
    "NEW.state BEGIN UPDATE directory_tallies SET cells = cells - 1 WHERE directory_id "
    "IN (SELECT directory_id FROM task_output_dirs WHERE signature = OLD.signature) AND "
    "state = (OLD.state); INSERT INTO directory_tallies (directory_id, state, cells) "
    "SELECT directory_id, NEW.state, 1 FROM (SELECT directory_id FROM task_output_dirs "
    "WHERE signature = NEW.signature) WHERE true ON CONFLICT (directory_id, state) DO "
    "UPDATE SET cells = cells + 1; END",
    "CREATE TRIGGER count_wish AFTER INSERT ON task_phases WHEN NEW.withdrawn = 0 BEGIN "
    "INSERT INTO tallies (phase_id, state, shape_id, priority, held, cells) SELECT "
    "NEW.phase_id, tasks.state, CASE WHEN tasks.state IN ('PENDING', 'RUNNING') THEN "
    "tasks.shape_id ELSE 0 END, CASE WHEN tasks.state = 'PENDING' THEN tasks.priority "
    "ELSE 0 END, CASE WHEN tasks.state = 'PENDING' THEN tasks.held ELSE 0 END, 1 FROM "
    "tasks WHERE tasks.signature = NEW.signature ON CONFLICT (phase_id, state, shape_id, "
    "priority, held) DO UPDATE SET cells = cells + 1; END",
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
    "CREATE TRIGGER count_link AFTER INSERT ON task_output_dirs BEGIN INSERT INTO "
    "directory_tallies (directory_id, state, cells) SELECT NEW.directory_id, "
    "tasks.state, 1 FROM tasks WHERE tasks.signature = NEW.signature ON CONFLICT "
    "(directory_id, state) DO UPDATE SET cells = cells + 1; END",
    "CREATE TRIGGER count_link_gone AFTER DELETE ON task_output_dirs BEGIN UPDATE "
    "directory_tallies SET cells = cells - 1 WHERE directory_id IN (OLD.directory_id) "
    "AND state = (SELECT tasks.state FROM tasks WHERE tasks.signature = OLD.signature); "
    "END",
    "CREATE TRIGGER count_link_moved AFTER UPDATE OF directory_id ON task_output_dirs "
    "BEGIN UPDATE directory_tallies SET cells = cells - 1 WHERE directory_id IN "
    "(OLD.directory_id) AND state = (SELECT tasks.state FROM tasks WHERE tasks.signature "
    "= OLD.signature); INSERT INTO directory_tallies (directory_id, state, cells) SELECT "
    "NEW.directory_id, tasks.state, 1 FROM tasks WHERE tasks.signature = NEW.signature "
    "ON CONFLICT (directory_id, state) DO UPDATE SET cells = cells + 1; END",
)
