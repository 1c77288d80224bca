"""The commands that look at one task: `logs`.

Promises: as those of `cli.py`, which shows them after its own; read-only, beside a running manager
and without one.  What is not here: what they do (`following.py`).
"""

from __future__ import annotations

import typer

from sqlqueue import options
from sqlqueue.command_line import WARNING, queue_of

app = typer.Typer()


@app.command(short_help="The captured output of a task.")
def logs(
    context: typer.Context,
    task_id: options.TaskId,
    attempt: options.AttemptNumber = None,
    follow: options.Follow = False,
    tail: options.Tail = None,
    home: options.HomeDir = None,
    verbose: options.Verbose = False,
) -> int:
    """The captured output of a task's last attempt, or of another; a running one is followed.

    A pipe gets the bytes as they are; on a terminal colours pass, and nothing else steers it.

    Example: sqlqueue logs exp1_0_42 --follow --tail 20
    """
    queue = queue_of(context, home, verbose, WARNING)
    from sqlqueue.following import Wish, show

    return show(queue, task_id, Wish(attempt, follow, tail))
