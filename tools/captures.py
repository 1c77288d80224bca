"""Writes docs/CAPTURES.md: what `status`, `failures` and the end of `run` look like.

Queues are made for it by real managers' cores from messages, and shown by the code that the
commands use; only the folder and the clock are given other values.
A test compares the page with what this makes.  What is not here: anything that is shown.
"""

from __future__ import annotations

import hashlib
import logging
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlqueue import protocol
from sqlqueue.failing import failures
from sqlqueue.home import NAME, Home
from sqlqueue.home_lock import HomeLock
from sqlqueue.initialise import initialise, survey
from sqlqueue.lifecycle import BREAKER_CELLS
from sqlqueue.manager.committer import Committer, Job
from sqlqueue.protocol import NewTask, Reply, Request, TaskReply
from sqlqueue.report import status_lines
from sqlqueue.report_failures import failure_lines
from sqlqueue.report_init import survey_lines
from sqlqueue.report_run import summary_lines
from sqlqueue.store.summary import offline_status
from sqlqueue.tables import Page

PAGE = Path(__file__).resolve().parent.parent / "docs" / "CAPTURES.md"
FOLDER = "/home/ada/paper"
NOON = 1_772_452_800.0
WHO: dict[str, Any] = {"worker_id": "node7-gpu0", "host": "node7", "device": "cuda:0"}
MEMORY = protocol.ExperimentMemory(name="train:main", parameters=[])

TRACEBACK = """Traceback (most recent call last):
  File "/home/ada/paper/train.py", line {line}, in main
    {code}
{error}"""
OUT = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate {size:.2f} GiB"
POISON = "KeyError: 'poison'"

Says = Callable[[TaskReply], str | None]
"""What becomes of a task: `done`, an error's text, `running`; None: it waits."""


@dataclass
class Made:
    """A queue in a folder of its own."""

    home: Home
    committer: Committer
    tasks: list[NewTask] = field(default_factory=list)

    def ask(self, *requests: Request) -> list[Reply]:
        """All in one transaction."""
        answers = self.committer.process([Job(each, "owner") for each in requests])
        replies = [reply for _, reply in answers]
        assert not any(isinstance(each, protocol.Error) for each in replies), replies
        return replies

    def phase(self, name: str, folder: str, cells: list[dict[str, Any]]) -> None:
        """A phase with these cells; the wider, the longer they are estimated to take."""
        for cell in cells:
            digest = hashlib.md5(repr(sorted(cell.items())).encode()).hexdigest()
            new = NewTask(
                signature=digest, phase=name, experiment="train:main", parameters=cell,
                output_dir=folder, seed=cell["seed"], max_attempts=1, cost=float(cell["width"]),
            )  # fmt: skip
            self.tasks.append(new)

    def add(self) -> None:
        folders = sorted({each.output_dir for each in self.tasks})
        self.ask(protocol.PrepareDirectories(output_dirs=folders))
        self.ask(protocol.AddTasks(tasks=self.tasks, experiments=[MEMORY]))

    def work(self, says: Says) -> None:
        """Hands everything out, and takes in what is said of it."""
        (reply,) = self.ask(protocol.RequestTask(count=1000, **WHO))
        assert isinstance(reply, protocol.TasksReply)
        ended = [self._ended(each, says(each)) for each in reply.tasks]
        self.ask(*(each for each in ended if each is not None))

    def _ended(self, task: TaskReply, what: str | None) -> Request | None:
        held = {"task_id": task.task_id, "worker_id": WHO["worker_id"]}
        if what is None:
            return protocol.Release(**held)
        if what == "running":
            return None
        if what == "done":
            seconds = 40.0 * task.config["width"]
            accuracy = {"accuracy": 0.9}
            return protocol.SubmitResult(result_data=accuracy, seconds=seconds, **held)
        log = f"{NAME}/logs/{task.task_id}/1.log"
        outcome: Any = "OOM" if "memory" in what else "FAILED"
        return protocol.TaskFailed(error=what, outcome=outcome, log_file=log, **held)

    def figures(self) -> dict[str, Any]:
        """Those of `status`, with a folder that is the same everywhere."""
        found = offline_status(self.home, lambda: NOON + 130.0)
        return found | {"home": f"{FOLDER}/{NAME}"}


@contextmanager
def made(make: Callable[[Made], None]) -> Iterator[Made]:
    """A queue whose manager has stopped."""
    with tempfile.TemporaryDirectory() as folder:
        home = Home(Path(folder) / NAME)
        home.create()
        with opened(home) as queue:
            make(queue)
        yield queue


@contextmanager
def opened(home: Home) -> Iterator[Made]:
    """A queue that is managed here."""
    with HomeLock(home, "captures") as lock:
        committer = Committer(home, lock=lock, breaker_cells=BREAKER_CELLS, wall=lambda: NOON)
        committer.open()
        try:
            yield Made(home, committer)
        finally:
            committer.close()


def cells(widths: list[int], seeds: int, **more: Any) -> list[dict[str, Any]]:
    return [{"width": w, "seed": s, **more} for w in widths for s in range(1, seeds + 1)]


def _error(task: TaskReply, error: str) -> str:
    code = "loss.backward()" if "memory" in error else "ratio = batch['poison']"
    return TRACEBACK.format(line=41 + task.config["seed"], code=code, error=error)


def study(queue: Made) -> None:
    """Five phases: one is finished, one is under way, one waits, two fail in different ways."""
    queue.phase("exp1_vary_width", "results_exp1_mnist", cells([1, 4, 16, 64], 12))
    queue.phase("exp2_batch_ordering", "results_exp2_mnist", cells([1, 4], 10, order="bad_good"))
    queue.phase("exp3_attacks", "results_exp3_cifar10", cells([4, 16], 20, poison_ratio=0.2))
    queue.phase("exp4_iid_non_iid", "results_exp4_cifar10", cells([4], 30, alpha=0.1))
    queue.phase("exp5_defences", "results_exp5_cifar10", cells([1, 4], 15, aggregator="median"))
    queue.add()
    queue.work(_of_study)


def _of_study(task: TaskReply) -> str | None:
    width, seed = task.config["width"], task.config["seed"]
    if task.phase == "exp1_vary_width":
        size = 2 + seed / 4
        return _error(task, OUT.format(size=size)) if width == 64 else "done"
    if task.phase == "exp2_batch_ordering":
        return "done"
    if task.phase == "exp4_iid_non_iid":
        return _error(task, POISON) if seed <= BREAKER_CELLS else None
    if task.phase == "exp3_attacks":
        return "running" if (width, seed) == (16, 7) else "done" if seed < 7 else None
    return None


def hundred(queue: Made) -> None:
    """A hundred phases: some are finished, some under way, most have not begun."""
    for number in range(100):
        more = {"layers": number}
        queue.phase(f"layers_{number:03d}", f"results/{number:03d}", cells([4], 4, **more))
    queue.add()
    queue.work(_of_hundred)


def _of_hundred(task: TaskReply) -> str | None:
    number, seed = task.config["layers"], task.config["seed"]
    if number == 57 and seed == 1:
        return _error(task, POISON)
    if number == 42 and seed == 3:
        return "running"
    return "done" if number < 40 or (number < 60 and seed < 3) else None


def disaster(queue: Made) -> None:
    """Everything has failed."""
    for number in range(6):
        more = {"layers": number}
        queue.phase(f"layers_{number}", f"results/{number}", cells([4, 64], 15, **more))
    queue.add()
    queue.work(_of_disaster)


def _of_disaster(task: TaskReply) -> str:
    if task.config["width"] == 64:
        return _error(task, OUT.format(size=2 + task.config["seed"] / 4))
    return _error(task, POISON if task.config["layers"] else "ValueError: no data in data/digits")


PLANNED = """\
defaults:
  output_dir: results/{phase}
  experiment: {{name: train, command: "sh train.sh {{width}} {{poison_ratio}} {{seed}}"}}
{phase}:
  combinations: {{{axes}}}
"""
BEFORE = {
    "width": "width: [1, 4, 16], poison_ratio: 0, seed: [1, 2, 3, 4, 5]",
    "attack": "width: 4, poison_ratio: [0, 0.2, 0.4], seed: [1, 2, 3, 4, 5]",
}
AFTER = BEFORE | {
    "width": "width: [1, 4, 32], poison_ratio: 0, seed: [1, 2, 3, 4, 5]",
    "defence": "width: 4, poison_ratio: [0.4, 0.6], seed: [1, 2, 3, 4, 5]",
}


def plan() -> list[str]:
    """What a dry run says when one file has changed, another has not, and a third is new."""
    with tempfile.TemporaryDirectory() as folder:
        home = Home(Path(folder) / NAME)
        (home.root / "train.sh").touch()
        initialise(home, _written(home.root, BEFORE), print, _unseen)
        with opened(home) as queue:
            queue.work(lambda task: "done" if task.config["width"] < 16 else None)
        added = survey(home, _written(home.root, AFTER), _unseen)
        return survey_lines(added, home.root, Page(80))


def _written(root: Path, phases: dict[str, str]) -> list[Path]:
    for name, axes in phases.items():
        (root / f"{name}.yaml").write_text(PLANNED.format(phase=name, axes=axes))
    return [root / f"{name}.yaml" for name in phases]


def _unseen(_total: int) -> AbstractContextManager[Callable[[int], None]]:
    return nullcontext(lambda _done: None)


HEAD = """\
# What it looks like

Written by `python tools/captures.py`; a test compares it. What is coloured or bold in a terminal is
not shown here. How `run` looks while it works is in [TERMINAL.md](TERMINAL.md).
"""


def page() -> str:
    """The whole page."""
    parts = [HEAD]

    def show(title: str, command: str, lines: list[str]) -> None:
        shown = "\n".join([f"$ {command}", *lines])
        parts.append(f"## {title}\n\n```\n{shown}\n```\n")

    command = "sqlqueue init --dry-run width.yaml attack.yaml defence.yaml"
    show("A plan", command, plan())
    with made(study) as queue:
        found = queue.figures()
        status = "sqlqueue status"
        show("A study, at 80 columns", status, status_lines(found, Page(80), False))
        show("The same at 200 columns", status, status_lines(found, Page(200), False))
        groups = failures(queue.home, [])
        show("What failed in it", "sqlqueue failures", failure_lines(groups, Page(80)))
    with made(hundred) as queue:
        show("A hundred phases", status, status_lines(queue.figures(), Page(80), False))
    with made(disaster) as queue:
        found = queue.figures()
        show("Everything has failed", status, status_lines(found, Page(80), False))
        command = "sqlqueue run layers.yaml"
        show("The end of a `run` of it", command, summary_lines(found, 754.0, Page(80)))
    return "\n".join(parts)


if __name__ == "__main__":
    logging.disable()
    PAGE.write_text(page(), encoding="utf-8")
