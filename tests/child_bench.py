"""One runner's child, by hand: orders in, endings out; the fixture `bench` ends it.

Promises: everything that a child started here, or left behind, carries a mark in its
environment, by which `left` finds it.  What is not here: the runner and the manager.
"""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest

from sqlqueue.worker.attempt import Attempt
from sqlqueue.worker.captured import Captured
from sqlqueue.worker.children import ChildProcess
from sqlqueue.worker.outcome import Ending, Order

MARK = "SQLQUEUE_MARK_OF_A_TEST"
EXPERIMENTS = Path(__file__).with_name("experiments_for_tests.py")
MISBEHAVING = Path(__file__).with_name("misbehaving.py")


def ending_of(attempt: Attempt) -> Ending:
    """From its order to its ending."""
    attempt.begin()
    return attempt.wait()


class Bench:
    """One runner's child, by hand: orders in, endings out."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.home = root / ".sqlqueue"
        self.inbox: SimpleQueue[Any] = SimpleQueue()
        self.child: ChildProcess | None = None
        self.attempts = 0
        self.last: Attempt | None = None
        self.mark = uuid.uuid4().hex
        for each in (EXPERIMENTS, MISBEHAVING):
            shutil.copy(each, root)

    def order(self, function: str, **config: Any) -> Order:
        self.attempts += 1
        name = function if ":" in function else f"experiments_for_tests:{function}"
        number = self.attempts
        return Order(
            queue="q", task_id="exp_0_42", attempt=number, signature="0" * 32, phase="exp",
            experiment=name, config={"seed": 42, **config}, seed=42,
            output_dir="out", worker_id="host-cpu", host="host", device="cpu", run_device="cpu",
            code_version="", log_file=f"logs/{number}.log", log=str(self.home / f"{number}.log"),
            folder=str(self.home / "attempts" / f"exp_0_42-{number}"),
            checkpoint=str(self.home / "checkpoints" / ("0" * 32)),
            spare=str(self.root / "state" / f"exp_0_42-{number}"),
        )  # fmt: skip

    def ready(self, order: Order) -> ChildProcess:
        if self.child is not None and not self.child.fit_for(order.experiment):
            self.close()
        if self.child is None:
            self.begin(order.experiment, Path(order.log))
        assert self.child is not None
        return self.child

    def begin(self, experiment: str, log: Path, **environment: str) -> None:
        """A child for that experiment, or before there is one."""
        self.child = ChildProcess(
            self.root, experiment, os.environ | {MARK: self.mark} | environment, log, self.inbox
        )

    def run(
        self, function: str, timeout: float | None = None, grace: float = 5.0, **config: Any
    ) -> Ending:
        order = self.order(function, **config)
        child = self.ready(order)
        self.last = Attempt(child, order, timeout, grace, self.inbox)
        with Captured(Path(order.log)):
            ending = ending_of(self.last)
        if ending.retire or self.last.child_lost or self.last.why:
            self.close()
        return ending

    def log(self) -> str:
        assert self.last is not None
        return Path(self.last.order.log).read_text()

    def close(self) -> None:
        if self.child is not None:
            self.child.close()
            self.child = None


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.close()


def marked(mark: str) -> list[int]:
    """The living processes that were started with that mark, however they are called now."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            state = path.with_name("stat").read_bytes().rpartition(b")")[2].split()[0]
            if mark.encode() in path.read_bytes() and state not in b"ZX":
                found.append(int(path.parent.name))
    return found
