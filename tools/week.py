"""`make week`: a researcher's week with sqlqueue, replayed on real training with `digits`.

Every command is typed into a shell in the folder `week/` and shown with what it said; the first
that does not end as told here ends the script.  At the end of each day the CSVs are looked at, not
only what was said of them.  With `--page` the whole goes to docs/WEEK.md.
What is not here: anything that sqlqueue does itself.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

from replay import WAIT_SECONDS, Replay, end_manager, need

REPOSITORY = Path(__file__).resolve().parent.parent
FILES = REPOSITORY / "configs" / "week"
PAGE = REPOSITORY / "docs" / "WEEK.md"
MEMORY = "ulimit -v 32000000"
"""KiB: what this machine, as many a cluster, gives to a job."""

HEAD = """\
# A week

What a researcher does in a week, from Monday's first sweep to Sunday's old results: the output of
`make week`, written by `python tools/week.py --page`. The sweep files and the script are in
[configs/week](../configs/week); the training is real, on the digits of scikit-learn, on a CPU.

| day | what happens | the sections that explain it |
|---|---|---|
| Monday | two figures of a paper, which overlap | [SWEEPS](SWEEPS.md), [STATUS](STATUS.md) |
| Tuesday | a training script of one's own | [EXPERIMENTS](EXPERIMENTS.md#a-command) |
| Wednesday | the grid grows; what waits is steered | [COMMANDS](COMMANDS.md#selectors) |
| Thursday | more memory than there is | [COMMANDS](COMMANDS.md#sqlqueue-failures-selector) |
| Friday | a cure, a `retry`; a machine that is taken away | [PREEMPTION](PREEMPTION.md) |
| Saturday | a fault in the script: once more | [COMMANDS](COMMANDS.md#sqlqueue-rerun-selector) |
| Sunday | rows of a colleague's | [IMPORT](IMPORT.md) |
"""


WORK = "sqlqueue work --cpu 2>&1 | tail -n 1"


def monday(week: Replay) -> None:
    week.day("Monday", "Two sweep files, one for each figure. Two cells are in both.")
    week.type("cat attack.yaml")
    week.type("sqlqueue init widths.yaml attack.yaml")
    week.tell("A manager in one terminal, a worker for each GPU in others; here one on the CPU.")
    week.begin("sqlqueue serve", "serve.log")
    week.type(WORK)
    week.type("sqlqueue status")
    week.tell("The two shared cells ran once, and stand in both CSVs.")
    week.type("cut -d, -f1-3 results/attack/final_results.csv")
    week.expect(widths=4, attack=6)
    shared = {each["signature"] for each in week.rows("widths")}
    need(len(shared & {each["signature"] for each in week.rows("attack")}) == 2, "two are shared")


def tuesday(week: Replay) -> None:
    week.day(
        "Tuesday",
        "`train.py` is a plain script with `argparse`; its last line prints what it measured. A "
        "sweep file says how it is called.",
    )
    week.type("git init -q && git add train.py && git commit -qm 'The script'")
    week.type("cat own.yaml")
    week.type("sqlqueue init own.yaml")
    week.type(WORK)
    week.type("sqlqueue logs own_0_1 --tail 2")
    week.expect(own=2)


def wednesday(week: Replay) -> None:
    week.day("Wednesday", "A wider layer. First the plan: what is new, and how long it will take.")
    week.edit("own.yaml", "hidden: [16, 64]", "hidden: [16, 64, 128]")
    said = week.type("sqlqueue init --dry-run own.yaml")
    need("1 new task:" in said, "only what is new is planned")
    week.type("sqlqueue init own.yaml")
    week.tell("It may wait; and come first after all.")
    week.type("sqlqueue pause phase=own")
    week.type("sqlqueue status")
    need(week.figures()["phases"][-1]["paused"], "what was asked for is so")
    week.type("sqlqueue resume phase=own && sqlqueue priority 10 phase=own 'hidden>64'")
    week.tell("What destroys shows first what it would do, and asks; scripts say `--yes`.")
    said = week.type("sqlqueue cancel 'hidden>64' --dry-run")
    need("1 pending" in said, "what would be cancelled is told")
    week.type(WORK)
    week.expect(own=3)


def thursday(week: Replay) -> None:
    week.day("Thursday", "Much wider. This machine gives a job 32 GB, and that is not enough.")
    week.edit("own.yaml", "hidden: [16, 64, 128]", "hidden: [16, 64, 128, 8192]")
    week.type("sqlqueue init own.yaml")
    week.type(f"({MEMORY}; {WORK})")
    week.type("sqlqueue status")
    said = week.type("sqlqueue failures")
    need("OOM" in said and "hidden=8192" in said, "out of memory is told, and of which cells")
    week.expect(own=3)


def friday(week: Replay) -> None:
    week.day(
        "Friday",
        "The traceback shows the line: every pair of samples at once. The standard deviation says "
        "the same of the units, and needs nothing. Only what failed runs again.",
    )
    week.edit(
        "train.py",
        "    spread = (units[:, None] - units[None]).abs().mean().item()  # every pair at once",
        "    spread = units.std(dim=0).mean().item()",
    )
    week.type("git commit -qam 'The spread is a standard deviation'")
    said = week.type("sqlqueue retry state=failed phase=own")
    need("1 task" in said, "it is tried again")
    week.type(f"({MEMORY}; {WORK})")
    week.expect(own=4)
    week.tell(
        "Then a long cell, on a machine that will be taken away: SIGUSR1 announces it. The "
        "built-in experiment saves its state, and is given back without being charged."
    )
    week.type("sqlqueue init long.yaml")
    worker = week.begin("sqlqueue work --cpu", "work.log")
    week.until("some rounds of training", lambda: step(week.figures()) >= 3)
    week.show("$ kill -USR1 $!; wait $!; echo $?")
    worker.send_signal(signal.SIGUSR1)
    status = worker.wait(WAIT_SECONDS)
    week.show(str(status))
    need(status == 128 + signal.SIGUSR1, "the worker says that it was preempted")
    week.tell("The next worker, on any machine that shares the folder, goes on from there.")
    week.type(WORK)
    said = week.type("sqlqueue show long_0_7")
    need("RELEASED" in said and "COMPLETED" in said, "two attempts, one of them given back")
    week.expect(long=1)


def step(figures: dict[str, Any]) -> float:
    """How far the task that runs is."""
    tasks = [task for each in figures["workers"] for task in each["tasks"]]
    return max((task["step"] or 0.0 for task in tasks), default=0.0)


def saturday(week: Replay) -> None:
    week.day(
        "Saturday",
        "A fault: the accuracy is that of the training data. After the cure, `init` says which "
        "rows come from other code than today's.",
    )
    week.edit(
        "train.py",
        "    accuracy = (model(x).argmax(1) == y).float().mean().item()",
        "    accuracy = (model(x_test).argmax(1) == y_test).float().mean().item()",
    )
    week.type("git commit -qam 'The accuracy is of the test data'")
    said = week.type("sqlqueue init own.yaml")
    need("other code" in said, "init tells of other code")
    before = {each["signature"]: each["accuracy"] for each in week.rows("own")}
    week.tell("Each old row stays until its new one takes its place, in every directory at once.")
    week.type("sqlqueue rerun phase=own --dry-run")
    week.type("sqlqueue rerun phase=own --yes")
    week.expect(own=4)
    need(before == {e["signature"]: e["accuracy"] for e in week.rows("own")}, "old rows stand")
    week.type(f"({MEMORY}; {WORK})")
    week.expect(own=4)
    after = {each["signature"]: each["accuracy"] for each in week.rows("own")}
    need(before.keys() == after.keys() and before != after, "new rows took their places")
    week.tell("From any row of a CSV to the attempt that made it, and to the one that it replaced:")
    week.type("sqlqueue show own_0_1")


def sunday(week: Replay) -> None:
    week.day(
        "Sunday",
        "A colleague has trained the same network with two more seeds, last month, without "
        "sqlqueue. First the cells, then a look at what fits.",
    )
    week.edit("own.yaml", "    seed: 1\n", "    seed: [1, 2, 3]\n")
    week.type("sqlqueue init own.yaml")
    week.write(
        "old/results.csv",
        "Seed;hidden;lr;accuracy;loss\n"
        "2;16;0,5;0,9156;0,3111\n"
        "2;64;0,5;0,9511;0,2046\n"
        "3;16;0,5;0,9044;0,3312\n"
        "3;32;0,5;0,9422;0,2450\n"
        "3;64;0,5;0,9489;0,2101\n"
        "2;16;0,5;0,9244;0,2987\n",
    )
    week.type("cat old/results.csv")
    said = week.type("sqlqueue import old/results.csv --dry-run", status=1)
    need("Would be adopted: 3 rows of 6" in said, "three fit, the others are told")
    week.type("sqlqueue import old/results.csv --yes", status=1)
    week.expect(own=7)
    week.tell("The rest is computed. What two lines contradict each other about is measured too.")
    week.type(f"({MEMORY}; {WORK})")
    week.type("sqlqueue status")
    week.type("sqlqueue verify")
    week.expect(widths=4, attack=6, own=12, long=1)
    need(week.figures()["done"], "everything is finished")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--page", action="store_true", help="write docs/WEEK.md")
    parser.add_argument("--folder", type=Path, default=REPOSITORY / "week", help="made anew")
    arguments = parser.parse_args()
    folder = Path(arguments.folder).resolve()
    if folder.exists() and not (folder / "week.made").exists():
        sys.exit(f"{folder}: is there, and not of this script")
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(FILES, folder)
    (folder / "week.made").touch()
    week = Replay(folder, HEAD)
    try:
        for day in (monday, tuesday, wednesday, thursday, friday, saturday, sunday):
            day(week)
    finally:
        end_manager(week.folder)
    week.tell(f"All of it is in `{folder.name}/`.")
    if arguments.page:
        PAGE.write_text("\n\n".join(week.page[:-1]) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
