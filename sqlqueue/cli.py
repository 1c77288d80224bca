"""The command line: parse, one library call, print.

Promises: `--help`, and `status` with a manager that answers, import neither torch nor
pandas nor sqlalchemy nor rich; `--home` and `--verbose` may stand before or after the
command; exit statuses are those of `shell.py`.  What is not here: the commands that steer
a queue (`verbs.py`), look at a task (`looks.py`) or look after the queue (`upkeep.py`), the
options (`options.py`), and what the commands do.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import typer

from sqlqueue import looks, options, shell, upkeep, verbs
from sqlqueue.command_line import INFO, NOTHING, WARNING, Shared, print_lines, queue_of
from sqlqueue.errors import EXIT_DONE, EXIT_FAILED, EXIT_INTERRUPTED
from sqlqueue.frugal import command_of
from sqlqueue.home import Home
from sqlqueue.lifecycle import BREAKER_CELLS

if TYPE_CHECKING:
    from sqlqueue.added import Added

HELP_COLUMNS: Final = 100
COMPLETING: Final = "_SQLQUEUE_COMPLETE"
"""Set by a shell that wants to know how a command line may go on, which is not among our words."""

app = typer.Typer(
    name="sqlqueue",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={
        "help_option_names": ["-h", "--help"],
        "max_content_width": HELP_COLUMNS,
    },
)


@app.callback()
def group(
    context: typer.Context,
    home: options.HomeDir = None,
    verbose: options.Verbose = False,
    version: options.Version = False,  # noqa: ARG001
) -> None:
    """Overlapping experiment sweeps: each cell runs once, its row lands everywhere.

    Begin with `sqlqueue run FILES...`; `init`, `serve` and `work` are its three parts.
    """
    context.obj = Shared(home, verbose)


@app.command(short_help="Add what sweep files want and the queue does not have yet.")
def init(
    context: typer.Context,
    files: options.Files,
    dry_run: options.DryRun = False,
    prune: options.Prune = False,
    yes: options.Yes = False,
    set_aside: options.SetAside = False,
    as_json: options.DataJson = False,
    home: options.HomeDir = None,
    verbose: options.Verbose = False,
) -> int:
    """Add what the sweep files want: new cells, links to shared ones, rows of completed ones.

    Idempotent: a second run adds nothing.  --dry-run is the plan: what would be added, what is
    in no file any more, and how long it is likely to take.

    Example: sqlqueue init --dry-run --prune configs/*.yaml
    """
    queue = queue_of(context, home, verbose, WARNING)
    from sqlqueue.report_init import added_json, added_lines, survey_lines
    from sqlqueue.tables import page_of

    added = (
        _survey(queue, files, set_aside) if dry_run else _add(queue, files, set_aside, prune, yes)
    )
    if as_json:
        print_lines([added_json(added, dry_run)])
    elif dry_run:
        print_lines(survey_lines(added, queue.root, page_of(sys.stdout)))
    else:
        print_lines(added_lines(added, page_of(sys.stdout)))
    return EXIT_DONE


def _survey(queue: Home, files: list[Path], set_aside: bool) -> Added:
    from sqlqueue.initialise import survey
    from sqlqueue.progress import shown

    sys.dont_write_bytecode = True  # the experiments' modules are imported: nothing is written
    return survey(queue, files, shown, set_aside)


def _add(
    queue: Home, files: list[Path], set_aside: bool, prune: bool = False, yes: bool = False
) -> Added:
    from sqlqueue.initialise import Pruning, initialise
    from sqlqueue.progress import shown

    pruning = (Pruning.UNASKED if yes else Pruning.ASKED) if prune else Pruning.NOT
    return initialise(queue, files, shell.notice, shown, set_aside, prune=pruning)


@app.command(short_help="Run the manager.")
def serve(
    context: typer.Context,
    host: options.Host = None,
    port: options.Port = None,
    until_done: options.UntilDone = False,
    take_over: options.TakeOver = False,
    breaker: options.Breaker = BREAKER_CELLS,
    home: options.HomeDir = None,
    verbose: options.Verbose = False,
) -> int:
    """Run the manager: it hands out tasks, stores results and writes the CSVs.

    Exits 0 when it was told to stop or, with --until-done, when every task is finished.

    Example: sqlqueue serve --host 0.0.0.0 --port 7433
    """
    queue = queue_of(context, home, verbose, INFO)
    queue.queue_id()
    from sqlqueue.manager import server

    return server.serve(
        queue, host=host, port=port, until_done=until_done, take_over=take_over,
        breaker_cells=breaker,
    )  # fmt: skip


@app.command(short_help="Run a worker.")
def work(
    context: typer.Context,
    gpu: options.Gpu = None,
    cpu: options.Cpu = False,
    slots: options.Slots = 1,
    wait: options.Wait = False,
    require_gpu: options.RequireGpu = False,
    time_limit: options.TimeLimit = None,
    manager: options.Manager = None,
    home: options.HomeDir = None,
    verbose: options.Verbose = False,
) -> int:
    """Run a worker: fetch tasks, run each in a child process, submit the results.

    Waits for a manager that is not there yet; exits 0 when all is finished.  SIGUSR1 and SIGTERM
    have what runs save its state and give it back, uncharged.

    Example: sqlqueue work --gpu 0 --time-limit 3:50:00
    """
    queue = queue_of(context, home, verbose, INFO)
    from sqlqueue import working

    wish = working.Wish(gpu or [], cpu, slots, wait, require_gpu, time_limit)
    return working.work(queue, wish, manager)


@app.command(short_help="Do it all on this machine: init, serve and work.")
def run(
    context: typer.Context,
    files: options.Files,
    set_aside: options.SetAside = False,
    breaker: options.Breaker = BREAKER_CELLS,
    home: options.HomeDir = None,
    verbose: options.Verbose = False,
) -> int:
    """Do it all on this machine: init, serve and work, until every task is finished.

    Takes all GPUs, else the CPU, and the manager that is there, if one is.  Exits 1 if a
    task failed, or if the circuit breaker holds back all that is left.

    Example: sqlqueue run configs/*.yaml
    """
    queue = queue_of(context, home, verbose, WARNING)
    added = _add(queue, files, set_aside)
    from sqlqueue.report_init import added_lines
    from sqlqueue.tables import page_of
    from sqlqueue.together import together

    print_lines(added_lines(added, page_of(sys.stdout)))
    return together(queue, set(added.phases), verbose, breaker)


@app.command(short_help="Show progress, workers, failures and what is left.")
def status(
    context: typer.Context,
    as_json: options.AsJson = False,
    everything: options.WholeStatus = False,
    watch: options.Watch = False,
    interval: options.Interval = 2.0,
    home: options.HomeDir = None,
    verbose: options.Verbose = False,
) -> int:
    """Show progress, workers, failures and what is left.  Read-only, always.

    Of more than fits on a page, what is worth a look first; --all shows everything.

    Example: sqlqueue status --watch
    """
    queue = queue_of(context, home, verbose, NOTHING)
    from sqlqueue import watching

    if watch:
        return watching.watch(queue, interval, as_json)
    return watching.once(queue, as_json, everything)


@app.command(short_help="Prove that the database and every CSV agree.")
def verify(
    context: typer.Context,
    repair: options.RepairIt = False,
    as_json: options.DataJson = False,
    home: options.HomeDir = None,
    verbose: options.Verbose = False,
) -> int:
    """Prove that the database and every CSV agree, row by row.  Exits 1 if they do not.

    Example: sqlqueue verify && git add results_*/final_results.csv
    """
    queue = queue_of(context, home, verbose, WARNING)
    from sqlqueue import checking

    repaired = checking.repair(queue) if repair else None
    if as_json:
        return EXIT_FAILED if checking.verify_json(queue, repaired) else EXIT_DONE
    if repaired is not None:
        print_lines(checking.repaired_lines(repaired))
    return EXIT_FAILED if checking.verify(queue) else EXIT_DONE


app.add_typer(verbs.app)
app.add_typer(looks.app)
app.add_typer(upkeep.app)


def typed() -> int:
    """The command that was typed, to its exit status."""
    arguments = sys.argv[1:] or ["--help"]
    command = command_of(app, None if COMPLETING in os.environ else arguments)
    found: Any = command(args=arguments, prog_name="sqlqueue", standalone_mode=False)
    if found == EXIT_INTERRUPTED:
        raise KeyboardInterrupt
    return int(found or EXIT_DONE)


def main() -> None:
    """The console script."""
    sys.exit(shell.conclude(typed))
