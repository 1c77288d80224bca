"""What the page says of large queues.

Pure.  What is not here: the other sections, and how they are put together (`page.py`).
"""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.measure import Figures, short, table

Picture = Callable[[str, str], str]
CLAIMS = ("store_us", "bare_us", "socket_ms")


def growing(found: Figures, _: Picture) -> str:
    """`init`, and a directory that is added later."""
    sizes = found.below("init/first/")
    if not sizes:
        return ""
    rows = [
        [f"{int(cells):,}", *(found[f"init/{what}/{cells}"].text() for what in
         ("first", "again", "more", "bare")),
         found[f"init/first/{cells}"].over(found[f"init/bare/{cells}"]).text(" x"),
         short(int(cells) / found[f"init/first/{cells}"].median),
         found[f"init/first_mb/{cells}"].text()]
        for cells in sizes
    ]  # fmt: skip
    head = [
        "cells",
        "first",
        "again",
        "one value more",
        "bare rows",
        "first to bare",
        "cells per second",
        "MB",
    ]
    later, by_hand = found["later/seconds"], found["later/bare_seconds"]
    return f"""## Large sweeps

`sqlqueue init` of two sweep files, each with half of the cells; half of each file's are in the
other too, so that four cells make three tasks. A whole process, in seconds; then the same command
again, which adds nothing; then with one value more of the parameter that has up to 100 values.
Beside it as many rows as there are tasks for one table of a bare database, in one transaction. The
last column is the most memory that the process held.

{table(head, rows)}

`init` that adds a directory for {found["later/rows"].median:,.0f} cells that have a result, and so
returns when its CSV has their rows: {later.text()} s, \
{later.over(by_hand).text()} times what it takes to read them
from the database and write them by hand; at most {short(max(found["later/mb"].values))} MB."""


def million(found: Figures, picture: Picture) -> str:
    """What must not grow."""
    if not found.has("status/idle_ms"):
        return ""
    tasks = f"{found['million/tasks'].median:,.0f}"
    parts = [_rows(found, picture), _claims(found, picture), _status(found), _back(found)]
    return "\n\n".join([f"""## A queue of {tasks} tasks

Made in {found["scale/made_seconds"].median:.0f} s from a few real tasks, together with the others \
of this section; half of its tasks are
completed, in directories with a CSV each.""", *(each for each in parts if each)])  # fmt: skip


def _rows(found: Figures, picture: Picture) -> str:
    sizes = found.below("rows/64/")
    few, many = sizes[0], sizes[-1]
    rows = [[f"{clients} client{'s' * (clients != '1')}", found[f"rows/{clients}/{few}"].text(),
             found[f"rows/{clients}/{many}"].text(),
             found[f"rows/{clients}/{few}"].over(found[f"rows/{clients}/{many}"]).text(" x")]
            for clients in ("64", "1")]  # fmt: skip
    head = ["results per second", f"{int(few):,} rows", f"{int(many):,} rows", "cost of a result"]
    return f"""Results into a CSV that has few rows, and into one that has many: rows are appended,
never rewritten.

{table(head, rows)}
{picture("rows", "What a result costs beside so many rows")}"""


def _claims(found: Figures, picture: Picture) -> str:
    sizes = found.below("claim/store_us/")
    rows = [[f"{int(size):,}", *(found[f"claim/{what}/{size}"].text() for what in CLAIMS),
             found[f"claim/store_us/{size}"].over(found[f"claim/bare_us/{size}"]).text(" x")]
            for size in sizes]  # fmt: skip
    head = ["tasks", "database, us", "bare update, us", "over the socket, ms", "to the bare one"]
    return f"""A claim: what it takes of the database, commit apart; one `UPDATE` of a bare table
with an index; from the question to the answer over a connection, its commit included.

{table(head, rows)}
{picture("claims", "What a claim costs among so many tasks")}"""


def _status(found: Figures) -> str:
    watched = found["status/watched"].over(found["status/unwatched"])
    rows = [["nobody at work", found["status/idle_ms"].text(),
             found["status/idle_ms"].over(found["status/count_ms"]).text(" x")]]  # fmt: skip
    if found.has("status/busy_ms"):
        busy = found["status/busy_ms"]
        rows.append(["64 clients submit and request", busy.text(),
                     busy.over(found["status/count_ms"]).text(" x")])  # fmt: skip
    rows.append(["tasks counted by state, by hand", found["status/count_ms"].text(), ""])
    return f"""`status`, from the question to the answer, in milliseconds; each of those who
work has one task:

{table(["while", "ms", "to a count"], rows)}

Asked every second, it leaves those 64 clients {watched.text()} of the tasks per second
that they had unwatched."""


def _back(found: Figures) -> str:
    workers = f"{found['million/workers'].median:,.0f}"
    kills = len(found["million/ready_seconds"].values)
    bare = found["million/sqlalchemy_ms"].times(0.001)
    rows = [[what, found[key].text(), found[key].over(bare).text(" x")] for what, key in (
        ("the first worker has its answer", "million/ready_seconds"),
        (f"all {workers} have", "million/workers_seconds"))]  # fmt: skip
    return f"""The manager is killed while 64 clients submit, {kills} times; {workers} workers wait
for the next one, connect at once and say what they hold. Seconds from the start of
`sqlqueue serve`:

{table(["until", "seconds", "to `import sqlalchemy`"], rows)}

The manager held {found["million/manager_mb"].text(" MB")}, \
with those workers {found["million/manager_mb_workers"].text(" MB")}."""
