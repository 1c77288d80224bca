"""The tables.  One line of meaning each; what is not here: how they are used.

Those that only planning ahead needs stand in `planned.py`.
Times are seconds since 1970 in UTC, for people to read; nothing is decided by them.
Values of parameters and metrics are JSON text, in which `NaN` and `Infinity` may stand.
The conditions of partial indexes are given for SQLite alone: naming another database here would
import its dialect into every `status`.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from sqlqueue.lifecycle import MAX_ATTEMPTS, Outcome, State

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _one_of(column: str, values: type[State] | type[Outcome]) -> str:
    return f"{column} IN ({', '.join(repr(each.value) for each in values)})"


# Small facts about the queue itself: its id, the epoch of the manager that may write, how often
# it was opened anew after a failure.
meta = Table(
    "meta",
    metadata,
    Column("key", Text, primary_key=True),
    Column("value", Text, nullable=False),
)

# Experiments that this home has seen.  `command`: what one that is a command runs, as JSON.
experiments = Table(
    "experiments",
    metadata,
    Column("name", Text, primary_key=True),
    Column("first_seen", Float, nullable=False),
    Column("command", Text),
)

# What was known of an experiment's parameters, and when: decides what a signature counts.
experiment_parameters = Table(
    "experiment_parameters",
    metadata,
    Column("experiment", Text, ForeignKey("experiments.name"), primary_key=True),
    Column("name", Text, primary_key=True),
    Column("original", Boolean, nullable=False),
    Column("first_default", Text),
    Column("last_default", Text),
)

# Phases, and the number that the next task id of each will try first.  `asked_priority`: what a
# person asked of the whole phase, its future cells included; holds over the sweep file.
phases = Table(
    "phases",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("next_number", Integer, nullable=False, server_default="0"),
    Column("paused", Boolean, nullable=False, server_default=text("0")),
    Column("asked_priority", Integer),
)

# One task per signature.  `phase_id` is where it appeared first.  `held`: whoever wants it is
# paused, so it is not handed out; kept here, so that a claim looks past none of those.
# `rerun_after`: its last attempt when it was last to run once more; what those up to it measured
# is of before.  `shape_id`: what it has in common with cells of its duration.  0: never, unknown.
tasks = Table(
    "tasks",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("signature", Text, nullable=False, unique=True),
    Column("task_id", Text, nullable=False, unique=True),
    Column("phase_id", Integer, ForeignKey("phases.id"), nullable=False),
    Column("experiment", Text, ForeignKey("experiments.name"), nullable=False),
    Column("parameters", Text, nullable=False),
    Column("runtime_only", Text, nullable=False, server_default="[]"),
    Column("seed", Integer),
    Column("state", Text, nullable=False, server_default=State.PENDING.value),
    Column("priority", Integer, nullable=False, server_default="0"),
    Column("cost", Float, nullable=False, server_default="1"),
    Column("max_attempts", Integer, nullable=False, server_default=str(MAX_ATTEMPTS)),
    Column("timeout_seconds", Float),
    Column("failures", Integer, nullable=False, server_default="0"),
    Column("losses", Integer, nullable=False, server_default="0"),
    Column("created_at", Float, nullable=False),
    Column("held", Boolean, nullable=False, server_default=text("0")),
    Column("rerun_after", Integer, nullable=False, server_default="0"),
    Column("shape_id", Integer, nullable=False, server_default=text("0")),
    CheckConstraint(_one_of("state", State), name="state"),
)
_claimable: Final = text("state = 'PENDING' AND held = 0")
Index(
    "ix_tasks_claim_largest",
    tasks.c.priority.desc(),
    tasks.c.cost.desc(),
    tasks.c.id,
    sqlite_where=_claimable,
)
Index(
    "ix_tasks_claim_smallest",
    tasks.c.priority.desc(),
    tasks.c.cost,
    tasks.c.id,
    sqlite_where=_claimable,
)
Index(
    "ix_tasks_claim_shape",
    tasks.c.shape_id,
    tasks.c.priority.desc(),
    tasks.c.id,
    sqlite_where=_claimable,
)
# Neither a claim nor a result has a place to change in the middle of a large one: of states, only
# those that few tasks are in.
Index("ix_tasks_few", tasks.c.state, sqlite_where=text("state NOT IN ('PENDING', 'COMPLETED')"))
Index("ix_tasks_held", tasks.c.id, sqlite_where=text("state = 'PENDING' AND held = 1"))
Index("ix_tasks_rerun", tasks.c.state, sqlite_where=text("rerun_after > 0"))

# Which phases want which task, and with what urgency; the largest of those that stand holds.
# `asked_priority`: a person's word, which holds over that of the sweep file.  `given`: the `init`
# that last found the cell in a sweep file, 0 before that was noted.
task_phases = Table(
    "task_phases",
    metadata,
    Column("phase_id", Integer, ForeignKey("phases.id"), primary_key=True),
    Column("signature", Text, ForeignKey("tasks.signature"), primary_key=True),
    Column("priority", Integer, nullable=False),
    Column("max_attempts", Integer, nullable=False),
    Column("timeout_seconds", Float),
    Column("withdrawn", Boolean, nullable=False, server_default=text("0")),
    Column("asked_priority", Integer),
    Column("given", Integer, nullable=False, server_default=text("0")),
    Index("ix_task_phases_signature", "signature"),
)

# Output directories, and the record of what the CSV in each is: columns, length, checksum
# of its content, and how the file looked when it was last synced.  `next_*`: what a rewrite
# under way will make of it.
output_directories = Table(
    "output_directories",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("path", Text, nullable=False, unique=True),
    Column("columns", Text),
    Column("row_count", Integer, nullable=False, server_default="0"),
    Column("length_bytes", Integer, nullable=False, server_default="0"),
    Column("checksum", Text, nullable=False, server_default=""),
    Column("look", Text, nullable=False, server_default=""),
    Column("next_length_bytes", Integer),
    Column("next_checksum", Text),
    Column("created_at", Float, nullable=False),
)

# The join: which directory must get the row of which task.  The first is the primary.
task_output_dirs = Table(
    "task_output_dirs",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("signature", Text, ForeignKey("tasks.signature"), nullable=False),
    Column("directory_id", Integer, ForeignKey("output_directories.id"), nullable=False),
    UniqueConstraint("signature", "directory_id"),
)

# The rows of each CSV, counted from 1, and whose they are.  In their order and nowhere else: what
# stands at the end of few pages costs a result next to nothing.
csv_rows = Table(
    "csv_rows",
    metadata,
    Column("directory_id", Integer, ForeignKey("output_directories.id"), primary_key=True),
    Column("row_number", Integer, primary_key=True),
    Column("signature", Text, ForeignKey("tasks.signature"), nullable=False),
    sqlite_with_rowid=False,
)

# Every run of a task.  `outcome` is NULL while it runs; at most one per task runs.
# `code_version`: `plan/version.py`; `versions`: of Python, sqlqueue and libraries, as JSON.
attempts = Table(
    "attempts",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("signature", Text, ForeignKey("tasks.signature"), nullable=False),
    Column("number", Integer, nullable=False),
    Column("worker_id", Text, nullable=False),
    Column("host", Text, nullable=False, server_default=""),
    Column("device", Text, nullable=False, server_default=""),
    Column("outcome", Text),
    Column("started_at", Float, nullable=False),
    Column("ended_at", Float),
    Column("seconds", Float),
    Column("error", Text),
    Column("code_version", Text, nullable=False, server_default=""),
    Column("log_file", Text, nullable=False, server_default=""),
    Column("request_id", Text),
    Column("lease_seconds", Float, nullable=False),
    Column("versions", Text, nullable=False, server_default="{}"),
    UniqueConstraint("signature", "number"),
    CheckConstraint(f"outcome IS NULL OR {_one_of('outcome', Outcome)}", name="outcome"),
)
_running: Final = text("outcome IS NULL")
Index("ix_attempts_running", attempts.c.signature, unique=True, sqlite_where=_running)
Index("ix_attempts_running_worker", attempts.c.worker_id, sqlite_where=_running)
Index("ix_attempts_request", attempts.c.request_id, sqlite_where=_running)

# Every result that arrived, flattened.  The accepted one is the row in the CSVs.
results = Table(
    "results",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("signature", Text, ForeignKey("tasks.signature"), nullable=False),
    Column("attempt_id", Integer, ForeignKey("attempts.id"), nullable=False),
    Column("metrics", Text, nullable=False),
    Column("accepted", Boolean, nullable=False),
    Column("arrived_at", Float, nullable=False),
)
# Each result is in one of them: in an index of signatures nearly each has a page of its own.
_accepted, _further = text("accepted = 1"), text("accepted = 0")
Index("ix_results_accepted", results.c.signature, unique=True, sqlite_where=_accepted)
Index("ix_results_further", results.c.signature, sqlite_where=_further)

# Workers that announced themselves.
workers = Table(
    "workers",
    metadata,
    Column("worker_id", Text, primary_key=True),
    Column("host", Text, nullable=False),
    Column("device", Text, nullable=False),
    Column("worker_type", Text, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("announced_at", Float, nullable=False),
)

# Workers that are to start nothing more: those that fit all the words given; "" is any.
drains = Table(
    "drains",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("worker", Text, nullable=False),
    Column("host", Text, nullable=False),
    Column("device", Text, nullable=False),
    Column("since", Float, nullable=False),
    UniqueConstraint("worker", "host", "device"),
)

# Cells that failed in one way (`kind`) since a cell of the phase was completed.
streaks = Table(
    "streaks",
    metadata,
    Column("phase_id", Integer, ForeignKey("phases.id"), primary_key=True),
    Column("kind", Text, primary_key=True),
    Column("signature", Text, ForeignKey("tasks.signature"), primary_key=True),
)

# Phases that the circuit breaker has paused, and why.
breakers = Table(
    "breakers",
    metadata,
    Column("phase_id", Integer, ForeignKey("phases.id"), primary_key=True),
    Column("kind", Text, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("error", Text, nullable=False),
    Column("cells", Integer, nullable=False),
    Column("since", Float, nullable=False),
)

# Files of a person's that stood where a CSV of ours belongs, and where they were moved to.
set_aside = Table(
    "set_aside",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("directory_id", Integer, ForeignKey("output_directories.id"), nullable=False),
    Column("path", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("at", Float, nullable=False),
)
