"""Every argument and option of the command line, declared once, with its help.

What is not here: the commands (`cli.py`), and what an option means to the parts.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final

import typer

from sqlqueue.completing import Complete, held, phases, task_ids, words, workers
from sqlqueue.home import NAME, VARIABLE
from sqlqueue.lifecycle import BREAKER_CELLS
from sqlqueue.option_values import flag, limit, positive, renaming, urgency, value, whole

MOST_SLOTS: Final = 1000
LAST_PORT: Final = 65535
LONGEST_INTERVAL_SECONDS: Final = 86400

HomeDir = Annotated[
    Path | None,
    value("--home", "DIR", "The folder of the queue.", f"${VARIABLE}, else {NAME} here", Path),
]
Verbose = Annotated[bool, flag("--verbose", "Log more.", "-v")]
Files = Annotated[
    list[Path],
    typer.Argument(metavar="FILES...", help="Sweep files (YAML).", show_default=False, parser=Path),
]
SomeFiles = Annotated[
    list[Path] | None,
    typer.Argument(
        metavar="[FILES...]",
        help="Sweep files (YAML); not needed where a database or a backup is there.",
        show_default=False,
        parser=Path,
    ),
]
BackupFile = Annotated[
    Path,
    typer.Argument(metavar="FILE", help="Where to put it.", show_default=False, parser=Path),
]
Force = Annotated[bool, flag("--force", "Replace an older backup that is there.")]
Backup = Annotated[
    Path | None,
    value("--backup", "FILE", "Begin with this backup.", "the database that is there", Path),
]
DryRecovery = Annotated[bool, flag("--dry-run", "Show what would be taken in; write nothing.")]
SetAside = Annotated[
    bool,
    flag("--set-aside", "Move a final_results.csv that sqlqueue did not write aside, and go on."),
]
DryRun = Annotated[bool, flag("--dry-run", "Show what would be added; write nothing.")]

Prune = Annotated[
    bool,
    flag("--prune", "Withdraw what waits and is in no file any more; asks first (--yes)."),
]


def _words(help_text: str, complete: Complete) -> Any:
    return typer.Argument(
        metavar="[SELECTOR]...", help=help_text, show_default=False, parser=str,
        autocompletion=complete,
    )  # fmt: skip


Words = Annotated[
    list[str] | None,
    _words(
        "Task ids, phase=, state=, worker=, host=, device=, error=, code=, and conditions on "
        "parameters (width_factor=64 'lr<=0.1' model!=cnn); all must hold.",
        words,
    ),
]
PhaseWords = Annotated[list[str] | None, _words("phase=NAME; commas and * as in a shell.", phases)]
WorkerWords = Annotated[list[str] | None, _words("worker=NAME, host=NAME, device=NAME.", workers)]
HeldWords = Annotated[
    list[str] | None, _words("phase=NAME, or worker=, host=, device= as they were drained.", held)
]
Urgency = Annotated[
    str,
    typer.Argument(
        metavar="N|file", help="The priority; `file`: what the sweep file says.",
        show_default=False, parser=urgency,
    ),
]  # fmt: skip
Everything = Annotated[bool, flag("--all", "Everything, instead of a selector.")]
DrySteering = Annotated[bool, flag("--dry-run", "Show what would be done; change nothing.")]
Yes = Annotated[bool, flag("--yes", "Do it without asking, as scripts must.", "-y")]
OneTask = Annotated[
    str,
    typer.Argument(
        metavar="TASK", show_default=False, parser=str,
        help="Its id, its signature, or the first 8 characters of that, or more.",
    ),
]  # fmt: skip
DataJson = Annotated[bool, flag("--json", "As JSON, as docs/COMMANDS.md describes.")]
OutputDir = Annotated[
    str,
    typer.Argument(metavar="DIR", help="An output directory.", show_default=False, parser=str),
]
MoveTo = Annotated[
    str | None, value("--move-to", "NEW", "Go on with it in this folder.", "leave the queue")
]


OldFiles = Annotated[
    list[Path],
    typer.Argument(
        metavar="FILES...", help="CSVs that other programs, or an older queue, wrote.",
        show_default=False, parser=Path,
    ),
]  # fmt: skip
Renames = Annotated[
    list[Any] | None,
    value(
        "--rename", "OLD=NEW", "A column by another name, a parameter's for example; repeatable.",
        "as the file says", renaming,
    ),
]  # fmt: skip
Ignored = Annotated[
    list[str] | None,
    value("--ignore", "COLUMN", "A column that is of no concern; repeatable.", "none"),
]
Among = Annotated[
    list[str] | None,
    value(
        "--among", "SELECTOR", "Only these tasks may be meant (phase=exp1, lr=0.1); repeatable.",
        "all tasks",
    ),
]  # fmt: skip
Tolerance = Annotated[
    float | None,
    value(
        "--tolerance", "RELATIVE", "Numbers that differ by so little are one (1e-6).",
        "they are equal as floats", positive(1),
    ),
]  # fmt: skip
ReportFile = Annotated[
    Path | None,
    value("--report", "FILE", "Every row and what became of it, as CSV.", "none", Path),
]
DryImport = Annotated[bool, flag("--dry-run", "Show what would be adopted; change nothing.")]
ImportJson = Annotated[bool, flag("--json", "As JSON, as docs/IMPORT.md describes.")]

Host = Annotated[
    str | None,
    value("--host", "ADDRESS", "Listen on TCP too, with TLS, at this address.", "no TCP"),
]
Port = Annotated[
    int | None,
    value(
        "--port",
        "PORT",
        f"Listen on TCP too, with TLS, at this port, 0 to {LAST_PORT}; 0 takes a free one.",
        "no TCP",
        whole(0, LAST_PORT),
    ),
]
MOST_BREAKER_CELLS: Final = 1_000_000
Breaker = Annotated[
    int,
    value(
        "--breaker",
        "CELLS",
        "Pause a phase when so many of its cells fail alike and none completes; 0: never.",
        str(BREAKER_CELLS),
        whole(0, MOST_BREAKER_CELLS),
    ),
]
UntilDone = Annotated[bool, flag("--until-done", "Exit 0 when every task is finished.")]
TakeOver = Annotated[
    bool,
    flag("--take-over", "Take the queue from a manager that hangs or whose host is gone."),
]

Gpu = Annotated[
    list[str] | None,
    value(
        "--gpu",
        "N|all",
        "Run on this GPU; may be repeated; `all` takes every one.",
        "all GPUs, else the CPU",
    ),
]
Cpu = Annotated[bool, flag("--cpu", "Run on the CPU.")]
Slots = Annotated[
    int,
    value("--slots", "K", f"Runners per device, 1 to {MOST_SLOTS}.", "1", whole(1, MOST_SLOTS)),
]
Wait = Annotated[bool, flag("--wait", "Stay for more when all is finished.")]
RequireGpu = Annotated[
    bool, flag("--require-gpu", "A GPU that is missing is an error, not a reason for the CPU.")
]


TimeLimit = Annotated[
    float | None,
    value(
        "--time-limit",
        "DURATION",
        "End after so long (3:50:00, 1h30m, or seconds): takes only tasks that are likely to be "
        "over by then, and gives back what is not.",
        "none",
        limit,
    ),
]
Manager = Annotated[
    str | None,
    value(
        "--manager",
        "HOST:PORT",
        "A manager whose home is not on this machine; its token (`sqlqueue token`) in "
        "SQLQUEUE_TOKEN.",
        "the one of the home",
    ),
]

TaskId = Annotated[
    str,
    typer.Argument(
        metavar="TASK_ID", help="The task, as `status` and `failures` name it.",
        show_default=False, parser=str, autocompletion=task_ids,
    ),
]  # fmt: skip
MOST_LINES: Final = 2**31
AttemptNumber = Annotated[
    int | None,
    value("--attempt", "N", "This attempt of the task.", "the last", whole(1, MOST_LINES)),
]
Follow = Annotated[
    bool, flag("--follow", "Go on while it grows, with the next attempts too.", "-f")
]
Tail = Annotated[
    int | None, value("--tail", "N", "Only the last N lines.", "all", whole(0, MOST_LINES))
]

AsJson = Annotated[bool, flag("--json", "As JSON, as docs/STATUS.md describes.")]
DoctorJson = Annotated[bool, flag("--json", "As JSON, as docs/DOCTOR.md describes.")]
WholeStatus = Annotated[bool, flag("--all", "Every phase, directory, worker and kind.")]
Watch = Annotated[bool, flag("--watch", "Again and again, until Ctrl-C.", "-w")]
Interval = Annotated[
    float,
    value(
        "--interval",
        "SECONDS",
        "Time between two looks of --watch.",
        "2",
        positive(LONGEST_INTERVAL_SECONDS),
    ),
]
Rotate = Annotated[
    bool,
    flag("--rotate", "Make certificate and secrets anew first: older tokens are worth nothing."),
]
RepairIt = Annotated[
    bool,
    flag("--repair", "Rebuild what does not agree; bytes of unknown origin are kept aside."),
]


def _say_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        print(f"sqlqueue {version('sqlqueue')}")
        raise typer.Exit


Version = Annotated[
    bool,
    typer.Option("--version", callback=_say_version, is_eager=True, show_default=False,
                 help="Say which version this is."),
]  # fmt: skip
