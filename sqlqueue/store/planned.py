"""The tables that planning ahead needs: what cells take, how many there are, where they stand.

One line of meaning each, as in `schema.py`, whose part this is.
"""

from __future__ import annotations

from sqlalchemy import Column, Float, ForeignKey, Integer, Table, Text

from sqlqueue.store.schema import metadata

# What cells of one duration have in common (`plan/pace.py`); `parameters` as JSON.
shapes = Table(
    "shapes",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("key", Text, nullable=False, unique=True),
    Column("experiment", Text, ForeignKey("experiments.name"), nullable=False),
    Column("cost", Float, nullable=False),
    Column("parameters", Text, nullable=False),
)

# What cells of a shape took on a kind of device: how many runs, and the seconds of the last, JSON.
paces = Table(
    "paces",
    metadata,
    Column("shape_id", Integer, ForeignKey("shapes.id"), primary_key=True),
    Column("kind", Text, primary_key=True),
    Column("runs", Integer, nullable=False),
    Column("seconds", Text, nullable=False),
)

# How many tasks there are of each kind, by the phases that want them (0: each task once), and how
# many links; kept by triggers (`counting.py`).
tallies = Table(
    "tallies",
    metadata,
    Column("phase_id", Integer, primary_key=True, autoincrement=False),
    Column("state", Text, primary_key=True),
    Column("shape_id", Integer, primary_key=True, autoincrement=False),
    Column("priority", Integer, primary_key=True, autoincrement=False),
    Column("held", Integer, primary_key=True, autoincrement=False),
    Column("cells", Integer, nullable=False),
    sqlite_with_rowid=False,
)
directory_tallies = Table(
    "directory_tallies",
    metadata,
    Column("directory_id", Integer, primary_key=True, autoincrement=False),
    Column("state", Text, primary_key=True),
    Column("cells", Integer, nullable=False),
    sqlite_with_rowid=False,
)

# Has a row only within a transaction that counts by itself: the triggers hold still.
uncounted = Table("uncounted", metadata, Column("id", Integer, primary_key=True))

# In which sweep files a phase stood when they were last given; paths as those of directories.
phase_files = Table(
    "phase_files",
    metadata,
    Column("phase_id", Integer, ForeignKey("phases.id"), primary_key=True),
    Column("path", Text, primary_key=True),
)
