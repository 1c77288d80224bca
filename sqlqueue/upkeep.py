"""The commands that look after a queue: `unlink`, `doctor`, `backup`, `recover`, `import`, `token`.

Promises: as those of `cli.py`, which shows them after its own.  What is not here: what they do.
"""

from __future__ import annotations

import sys

import typer

from sqlqueue import options
from sqlqueue.command_line import NOTHING, WARNING, Shared, print_lines, queue_of
from sqlqueue.errors import EXIT_DONE, EXIT_FAILED

app = typer.Typer()


@app.command(short_help="Take a directory out of the queue, or move it.")
def unlink(
    context: typer.Context,
    directory: options.OutputDir,
    move_to: options.MoveTo = None,
    dry_run: options.DrySteering = False,
    yes: options.Yes = False,
    as_json: options.DataJson = False,
    home: options.HomeDir = None,
    verbose: options.Verbose = False,
) -> int:
    """Take an output directory out of the queue; its files stay as they are.  Asks first.

    With --move-to the queue goes on with it there: the folder is renamed, unless you have done so.

    Example: sqlqueue unlink results_old --move-to results/old
    """
    queue = queue_of(context, home, verbose, WARNING)
    from sqlqueue.protocol import Unlink
    from sqlqueue.unlinking import unlink as unlinked
    from sqlqueue.unlinking import unlinked_json, unlinked_lines

    message = Unlink(output_dir=directory, move_to=move_to, dry_run=dry_run)
    found = unlinked(queue, message, yes=yes)
    if found is None:
        print_lines(["Nothing was changed"])
        return EXIT_FAILED
    if as_json:
        print_lines([unlinked_json(found, dry_run)])
    else:
        print_lines(unlinked_lines(found, dry_run))
    return EXIT_DONE


@app.command(short_help="Say what is wrong with this machine, filesystem, queue.")
def doctor(
    context: typer.Context,
    as_json: options.DoctorJson = False,
    home: options.HomeDir = None,
    verbose: options.Verbose = False,
) -> int:
    """Say what is unsafe about the home, filesystems, clock, machine, and how to cure it.

    Read-only.  Exits 1 if anything is wrong, 0 if there is nothing but notes.

    Example: sqlqueue doctor --home /data/paper/.sqlqueue
    """
    shared: Shared = context.obj
    queue = queue_of(context, home, verbose, NOTHING)
    from sqlqueue.doctor.visit import visit

    return visit(queue, bool(home or shared.home), as_json)


@app.command(short_help="Copy the database into one file.")
def backup(
    context: typer.Context,
    file: options.BackupFile,
    force: options.Force = False,
    as_json: options.DataJson = False,
    home: options.HomeDir = None,
    verbose: options.Verbose = False,
) -> int:
    """Copy the database into one file, beside a running manager too, and check the copy.

    Example: sqlqueue backup --force /backup/paper.db
    """
    queue = queue_of(context, home, verbose, WARNING)
    from sqlqueue.backing_up import back_up
    from sqlqueue.progress import shown
    from sqlqueue.report_recover import backup_json, backup_lines

    holds = back_up(queue, file, force, shown)
    print_lines([backup_json(file, holds)] if as_json else backup_lines(file, holds))
    return EXIT_DONE


@app.command(short_help="Make a lost or damaged database again.")
def recover(
    context: typer.Context,
    files: options.SomeFiles = None,
    backup: options.Backup = None,
    dry_run: options.DryRecovery = False,
    as_json: options.DataJson = False,
    home: options.HomeDir = None,
    verbose: options.Verbose = False,
) -> int:
    """Make a lost or damaged database again: from a backup, the sweep files, and every CSV.

    What stands in its place is moved aside.  Exits 1 if a line of a CSV was not taken in.

    Example: sqlqueue recover --dry-run configs/*.yaml --backup /backup/paper.db
    """
    queue = queue_of(context, home, verbose, WARNING)
    from sqlqueue.progress import shown
    from sqlqueue.recovering import Wish
    from sqlqueue.recovering import recover as recovered
    from sqlqueue.report_recover import recovered_json, recovered_lines
    from sqlqueue.tables import page_of

    found = recovered(queue, Wish(files or [], backup, dry_run), shown)
    if as_json:
        print_lines([recovered_json(found, dry_run)])
    else:
        print_lines(recovered_lines(found, dry_run, page_of(sys.stdout)))
    return EXIT_FAILED if found.troubles else EXIT_DONE


@app.command("import", short_help="Adopt rows that were computed before.")
def import_(
    context: typer.Context,
    files: options.OldFiles,
    rename: options.Renames = None,
    ignore: options.Ignored = None,
    among: options.Among = None,
    tolerance: options.Tolerance = None,
    dry_run: options.DryImport = False,
    yes: options.Yes = False,
    report: options.ReportFile = None,
    as_json: options.ImportJson = False,
    home: options.HomeDir = None,
    verbose: options.Verbose = False,
) -> int:
    """Adopt rows that were computed by other means: each completes the task that it is of.

    Columns that bear the name of a parameter say which; the others are results.  Shows first what
    it would do, and asks.  A result that is there stays.  Exits 1 if a row was not taken.

    Example: sqlqueue import old/final_results.csv --rename width=width_factor --dry-run
    """
    queue = queue_of(context, home, verbose, WARNING)
    from sqlqueue.importing import Wish, import_rows
    from sqlqueue.plan.layout import Wish as Columns
    from sqlqueue.progress import shown
    from sqlqueue.report_import import import_json, import_lines
    from sqlqueue.tables import page_of

    wish = Wish(
        files, Columns(dict(rename or []), ignore or []), among or [], tolerance or 0.0,
        dry_run, yes, report, as_json,
    )  # fmt: skip
    page = page_of(sys.stdout)
    found = import_rows(queue, wish, shown, lambda plan: print_lines(import_lines(plan, page)))
    if found is None:
        print_lines(["Nothing was changed"])
        return EXIT_FAILED
    print_lines([import_json(found)] if as_json else import_lines(found, page))
    return EXIT_DONE if found.is_fine else EXIT_FAILED


@app.command(short_help="Print the token for workers elsewhere.")
def token(
    context: typer.Context,
    rotate: options.Rotate = False,
    home: options.HomeDir = None,
    verbose: options.Verbose = False,
) -> int:
    """Print the token that workers elsewhere need in SQLQUEUE_TOKEN.

    Example: export SQLQUEUE_TOKEN=$(sqlqueue token)
    """
    queue = queue_of(context, home, verbose, WARNING)
    queue.queue_id()
    from sqlqueue import keys

    if rotate:
        from sqlqueue.home_lock import HomeLock

        with HomeLock(queue, "sqlqueue token --rotate"):
            keys.rotate(queue)
    keys.create(queue)
    print(keys.worker_token(queue))
    return EXIT_DONE
