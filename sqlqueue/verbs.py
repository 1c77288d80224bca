"""The commands that steer a queue while it runs: `retry`, `rerun`, `cancel`, `pause`, ...

Promises: as those of `cli.py`, which shows them after its own; each says the same with a manager
and with none.  What is not here: what they do (`steering.py`).
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Final

import typer

from sqlqueue import options
from sqlqueue.command_line import WARNING, print_lines, queue_of
from sqlqueue.errors import EXIT_DONE, EXIT_FAILED
from sqlqueue.option_values import FROM_FILE

if TYPE_CHECKING:
    from sqlqueue.steering import Steered, Verb

app = typer.Typer()
TAKES_MINUS: Final = {"ignore_unknown_options": True}
"""`priority -5` is a number; what else begins with a minus the selector refuses."""


@app.command(short_help="Failed and cancelled tasks back to pending.")
def retry(
    context: typer.Context,
    selector: options.Words = None,
    everything: options.Everything = False,
    dry_run: options.DrySteering = False,
    yes: options.Yes = False,
    as_json: options.DataJson = False,
    home: options.HomeDir = None,
    verbose: options.Verbose = False,
) -> int:
    """Failed and cancelled tasks are pending again, their attempts counted anew.

    Example: sqlqueue retry state=failed 'error=out of memory' width_factor=64
    """
    from sqlqueue.protocol import Retry

    message = Retry(select=selector or [], all=everything, dry_run=dry_run)
    return _steer(context, home, verbose, message, "pending again", as_json, yes)


@app.command(short_help="Completed tasks once more.")
def rerun(
    context: typer.Context,
    selector: options.Words = None,
    everything: options.Everything = False,
    dry_run: options.DrySteering = False,
    yes: options.Yes = False,
    as_json: options.DataJson = False,
    home: options.HomeDir = None,
    verbose: options.Verbose = False,
) -> int:
    """Run completed tasks once more, after a fault in the code was mended.  Asks first.

    Each row stays in every CSV until its new result takes its place in all of them at once.

    Example: sqlqueue rerun phase=exp1 code=a1b2c3d
    """
    from sqlqueue.protocol import Rerun

    message = Rerun(select=selector or [], all=everything, dry_run=dry_run)
    return _steer(context, home, verbose, message, "set to run once more", as_json, yes)


@app.command(short_help="Withdraw tasks, or what a phase wants.")
def cancel(
    context: typer.Context,
    selector: options.Words = None,
    everything: options.Everything = False,
    dry_run: options.DrySteering = False,
    yes: options.Yes = False,
    as_json: options.DataJson = False,
    home: options.HomeDir = None,
    verbose: options.Verbose = False,
) -> int:
    """Withdraw tasks that are not completed; running ones are told to stop.  Asks first.

    With phase=, what these phases want: a task that another phase wants goes on.
    `retry`, or `init` with the sweep files, brings them back.

    Example: sqlqueue cancel phase=exp1 'width_factor>=64' --dry-run
    """
    from sqlqueue.protocol import Cancel

    message = Cancel(select=selector or [], all=everything, dry_run=dry_run)
    return _steer(context, home, verbose, message, "cancelled", as_json, yes)


@app.command(short_help="Raise or lower a priority.", context_settings=TAKES_MINUS)
def priority(
    context: typer.Context,
    number: options.Urgency,
    selector: options.Words = None,
    everything: options.Everything = False,
    dry_run: options.DrySteering = False,
    yes: options.Yes = False,
    as_json: options.DataJson = False,
    home: options.HomeDir = None,
    verbose: options.Verbose = False,
) -> int:
    """Raise or lower the priority of tasks; 0 is usual, the largest is first.

    Holds over the sweep file, at the next `init` too, until `priority file` gives it back.

    Example: sqlqueue priority 10 phase=exp1
    """
    from sqlqueue.protocol import SetPriority

    asked = None if number == FROM_FILE else int(number)
    message = SetPriority(select=selector or [], all=everything, dry_run=dry_run, priority=asked)
    what = "as the sweep file says" if asked is None else f"of priority {asked}"
    return _steer(context, home, verbose, message, what, as_json, yes)


@app.command(short_help="Hand out nothing new of a phase.")
def pause(
    context: typer.Context,
    selector: options.PhaseWords = None,
    everything: options.Everything = False,
    dry_run: options.DrySteering = False,
    yes: options.Yes = False,
    as_json: options.DataJson = False,
    home: options.HomeDir = None,
    verbose: options.Verbose = False,
) -> int:
    """Hand out nothing new of these phases, or of all; what runs goes on.

    A task that an unpaused phase wants too is handed out.  Workers wait.

    Example: sqlqueue pause phase=exp3,exp4
    """
    from sqlqueue.protocol import Pause

    message = Pause(select=selector or [], all=everything, dry_run=dry_run)
    return _steer(context, home, verbose, message, "", as_json, yes)


@app.command(short_help="End a pause or a drain.")
def resume(
    context: typer.Context,
    selector: options.HeldWords = None,
    everything: options.Everything = False,
    dry_run: options.DrySteering = False,
    yes: options.Yes = False,
    as_json: options.DataJson = False,
    home: options.HomeDir = None,
    verbose: options.Verbose = False,
) -> int:
    """End a pause or a drain, named as it was begun, or all of them.

    Example: sqlqueue resume phase=exp3
    """
    from sqlqueue.protocol import Resume

    message = Resume(select=selector or [], all=everything, dry_run=dry_run)
    return _steer(context, home, verbose, message, "", as_json, yes)


@app.command(short_help="Let workers finish and end.")
def drain(
    context: typer.Context,
    selector: options.WorkerWords = None,
    everything: options.Everything = False,
    dry_run: options.DrySteering = False,
    yes: options.Yes = False,
    as_json: options.DataJson = False,
    home: options.HomeDir = None,
    verbose: options.Verbose = False,
) -> int:
    """Workers finish what they run, start nothing more, and end with exit status 0.

    Kept until `resume` names the same words: one that comes back under the name ends too.

    Example: sqlqueue drain host=node7 device=cuda:0
    """
    from sqlqueue.protocol import Drain

    message = Drain(select=selector or [], all=everything, dry_run=dry_run)
    return _steer(context, home, verbose, message, "", as_json, yes)


@app.command(short_help="What failed, by its kind, and why.")
def failures(
    context: typer.Context,
    selector: options.Words = None,
    as_json: options.DataJson = False,
    home: options.HomeDir = None,
    verbose: options.Verbose = False,
) -> int:
    """What failed, the same kind only once: what its tasks share, and one traceback.

    Read-only, beside a running manager too.  Without a selector, everything that failed.

    Example: sqlqueue failures phase=exp1
    """
    queue = queue_of(context, home, verbose, WARNING)
    from sqlqueue.failing import failures as failed
    from sqlqueue.report import document
    from sqlqueue.report_failures import failure_lines
    from sqlqueue.tables import page_of

    found = failed(queue, selector or [])
    if as_json:
        print_lines([document({"failures": found})])
    else:
        print_lines(failure_lines(found, page_of(sys.stdout)))
    return EXIT_DONE


@app.command(short_help="One task: its attempts, its result, its code.")
def show(
    context: typer.Context,
    task: options.OneTask,
    as_json: options.DataJson = False,
    home: options.HomeDir = None,
    verbose: options.Verbose = False,
) -> int:
    """Everything about one task, by its id or its signature as they stand in every CSV.

    Who wants it, where its row is, each attempt with its code and machine, its result, and how
    other results for it differ.  Read-only, beside a running manager too.

    Example: sqlqueue show exp1_vary_width_0_42
    """
    queue = queue_of(context, home, verbose, WARNING)
    from sqlqueue.report import document
    from sqlqueue.report_show import show_lines
    from sqlqueue.showing import shown
    from sqlqueue.tables import page_of

    found = shown(queue, task)
    if as_json:
        print_lines([document(found)])
    else:
        print_lines(show_lines(found, page_of(sys.stdout)))
    return EXIT_DONE


def _steer(
    context: typer.Context, home: Any, verbose: bool, message: Verb, what: str, as_json: bool,
    yes: bool,
) -> int:  # fmt: skip
    queue = queue_of(context, home, verbose, WARNING)
    from sqlqueue.steering import steer

    found = steer(queue, message, yes=yes)
    if found is None:
        print_lines(["Nothing was changed"])
        return EXIT_FAILED
    _tell(found, what, message.dry_run, as_json)
    return EXIT_DONE


def _tell(found: Steered, what: str, dry_run: bool, as_json: bool) -> None:
    from sqlqueue.report_steering import held_lines, steered_json, steered_lines

    if as_json:
        print_lines([steered_json(found, dry_run)])
    elif what:
        print_lines(steered_lines(found, what, dry_run))
    else:
        print_lines(held_lines(found.notes, dry_run))
