"""A SIGKILL of a guard: what it guarded is ended before the next attempt begins, and nobody else.

Real guards, real families of processes.  What is not here: guards that live
(`test_child_misbehaving.py`).
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from child_bench import Bench, bench, ending_of, marked
from worker_queue import SECONDS, Queue, gone

from sqlqueue.plan.command import Command
from sqlqueue.worker import orphans
from sqlqueue.worker.attempt import Attempt
from sqlqueue.worker.outcome import Ending, Order
from support import wait_until

__all__ = ["bench"]

PAUSE = f"{sys.executable} -c 'import signal; signal.pause()'"


def program(bench: Bench, text: str) -> Order:
    """An order for a shell script, which waits for what it starts."""
    path = bench.root / "program.sh"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    command = Command(("./program.sh",), {}, "", ())
    return replace(bench.order("m:program"), experiment="program", command=command)


def wrapper(bench: Bench) -> Order:
    """A script that does not `exec`, a daemon of its, and the program that it waits for."""
    daemon = f"(setsid {PAUSE} & echo $! > daemon)"
    return program(bench, f"{daemon}; {PAUSE} & echo $PPID $$ $(cat daemon) $! > family-42; wait")


def function(bench: Bench) -> Order:
    return bench.order("misbehaving:start_others_and_wait")


def begun(bench: Bench, order: Order) -> Future[Ending]:
    """The attempt, in a thread as a runner is."""
    ending: Future[Ending] = Future()
    attempt = Attempt(bench.ready(order), order, None, 5.0, bench.inbox)
    threading.Thread(target=lambda: ending.set_result(ending_of(attempt)), daemon=True).start()
    return ending


def family(bench: Bench, seed: int = 42) -> list[int]:
    """The numbers that an attempt wrote when all that it starts was there."""
    path = bench.root / f"family-{seed}"
    wait_until(lambda: path.exists() and path.read_text().endswith("\n"), SECONDS, "its family")
    return list(map(int, path.read_text().split()))


def kill_guard(bench: Bench) -> int:
    assert bench.child is not None
    guard = bench.child._guard.pid
    os.kill(guard, signal.SIGKILL)
    return guard


@pytest.fixture
def neighbour(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """Another runner of this process."""
    made = Bench(tmp_path_factory.mktemp("neighbour"))
    yield made
    made.close()


@pytest.mark.parametrize("what", [wrapper, function])
def test_nothing_is_left_when_the_attempt_is_said_to_be_over(
    bench: Bench, what: Callable[[Bench], Order]
) -> None:
    ending = begun(bench, what(bench))
    pids = family(bench)
    killed = kill_guard(bench)
    said = ending.result(SECONDS)
    assert [pid for pid in pids if psutil.pid_exists(pid)] == []  # the dead are buried, too
    assert marked(bench.mark) == []
    assert not psutil.pid_exists(killed)
    assert said.outcome == "FAILED"
    assert "the guard of the child was killed by SIGKILL" in said.error
    bench.close()
    assert bench.run("add").outcome == "COMPLETED"


@pytest.mark.parametrize(
    "how", [pytest.param("fork_for_ever", marks=pytest.mark.slow), "fork_deeper"]
)
def test_a_family_that_grows_is_ended(bench: Bench, how: str) -> None:
    ending = begun(bench, bench.order(f"misbehaving:{how}"))
    wait_until((bench.root / "started-42").exists, SECONDS, "its first process")
    kill_guard(bench)
    assert ending.result(SECONDS).outcome == "FAILED"
    assert marked(bench.mark) == []


@contextmanager
def pausing(away: bool) -> Iterator[subprocess.Popen[bytes]]:
    """A program of this process; `away`: in a session of its own."""
    pause = [sys.executable, "-c", "import signal; signal.pause()"]
    with subprocess.Popen(pause, start_new_session=away) as process:
        try:
            yield process
        finally:
            process.kill()


def test_others_are_left_alone(bench: Bench, neighbour: Bench) -> None:
    """What was there before the guard, a program of this process, another runner's child."""
    with pausing(away=True) as older:
        assert neighbour.run("add").outcome == "COMPLETED"  # the kernel's clock went on meanwhile
        neighbour.close()
        first = begun(bench, function(bench))
        second = begun(neighbour, function(neighbour))
        mine, others = family(bench), family(neighbour)
        with pausing(away=False) as ours:
            kill_guard(bench)
            assert first.result(SECONDS).outcome == "FAILED"
            assert [pid for pid in mine if psutil.pid_exists(pid)] == []
            assert [pid for pid in others if gone(pid)] == []
            assert (older.poll(), ours.poll(), second.done()) == (None, None, False)


def test_guards_that_are_being_started_are_left_alone(bench: Bench, neighbour: Bench) -> None:
    """One runner's guards are killed, one after another, while a second one starts its own."""
    over = threading.Event()

    def kill_again_and_again() -> int:
        killed = 0
        while not over.is_set():
            bench.ready(bench.order("misbehaving:start_others_and_wait"))
            kill_guard(bench)
            bench.close()
            killed += 1
        return killed

    with ThreadPoolExecutor(1) as pool:
        killing = pool.submit(kill_again_and_again)
        try:
            for _ in range(10):
                assert neighbour.run("add").outcome == "COMPLETED"
                neighbour.close()
        finally:
            over.set()
        assert killing.result() > 0
    assert marked(bench.mark) == []


def test_no_guard_is_remembered_once_it_is_buried(bench: Bench) -> None:
    bench.run("add")
    assert bench.child is not None
    guard = bench.child._guard.pid
    assert guard in orphans._guards
    bench.close()
    assert guard not in orphans._guards


# --- a real worker ----------------------------------------------------------------------------

SCRIPT = """
echo $$ >> attempts
for each in $(cat running 2>/dev/null); do
    if kill -0 $each 2>/dev/null; then echo $each >> beside; fi
done
{pause} & echo $! >> running
(setsid {pause} & echo $! >> running)
[ $(wc -l < attempts) -gt 1 ] || wait
echo '{{"x": 1}}'
"""


def test_the_next_attempt_of_a_command_never_runs_beside_the_first(queue: Queue) -> None:
    script = queue.root / "run.sh"
    script.write_text("#!/bin/sh" + SCRIPT.format(pause=PAUSE))
    script.chmod(0o755)
    phase = {"experiment": {"command": ["./run.sh"], "parameters": {"seed": "int"}},
             "output_dir": "results", "combinations": {"seed": [1]}}  # fmt: skip
    (queue.root / "sweep.yaml").write_text(json.dumps({"exp": phase}))
    queue.cli.set_up("init", "sweep.yaml")
    queue.manager.start()
    worker = queue.worker()
    running = queue.root / "running"
    wait_until(lambda: running.exists() and len(_lines(running)) == 2, SECONDS, "the first attempt")
    [guard] = psutil.Process(worker.pid).children()
    guard.kill()
    assert worker.wait(SECONDS) == 0, queue.said
    assert queue.attempts() == [("exp_0_1", 1, "FAILED"), ("exp_0_1", 2, "COMPLETED")]
    assert not (queue.root / "beside").exists()
    assert "the guard of the child was killed by SIGKILL" in queue.said


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines()
