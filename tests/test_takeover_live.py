"""A manager that answers is taken over while workers, clients and commands talk to it.

All of it real processes.  The first manager finds out in its next commit or tick, says so to
whoever asks it then, and ends; everybody goes on with the second one.
"""

from __future__ import annotations

import fcntl
import re
import signal
import socket
import subprocess
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest
from worker_queue import SECONDS, Queue

from sqlqueue.home import Home
from support import connect, exchange, wait_until

SLOTS = 8
GATES = 3


def take_over(queue: Queue, *options: str) -> None:
    """A second manager listens; the first one has ended by itself, and says why."""
    first = queue.manager.process
    assert first is not None
    queue.manager.start("--take-over", *options)
    assert first.wait(SECONDS) == 1
    assert "A newer manager has taken this home over" in queue.manager.said


def paused(queue: Queue) -> subprocess.Popen[bytes]:
    """The manager, stopped; not in the middle of writing, or nobody can take its place."""
    first = queue.manager.process
    assert first is not None
    wait_until(lambda: stopped_between_turns(first, queue.home), SECONDS, "a moment between turns")
    return first


def stopped_between_turns(process: subprocess.Popen[bytes], home: Home) -> bool:
    process.send_signal(signal.SIGSTOP)
    wait_until(lambda: psutil.Process(process.pid).status() == psutil.STATUS_STOPPED)
    with home.turn.open() as turn:
        try:
            fcntl.flock(turn, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            process.send_signal(signal.SIGCONT)
            return False
    return True


def begin(queue: Queue, *options: str) -> None:
    """Tasks that end when their gate is opened: so many at a time as the worker has slots."""
    queue.init("note", list(range(GATES * SLOTS)))
    queue.manager.start(*options)


def test_workers_go_on_with_the_new_manager(queue: Queue) -> None:
    """Nothing is refused, lost, or run twice: each task wrote its line once.

    The first one is stopped meanwhile, so that it hears the news and all the workers at once.
    """
    begin(queue)
    worker = queue.worker(f"cpu=True, slots={SLOTS}")
    for number in range(GATES):
        running(queue, (number + 1) * SLOTS)
        first = paused(queue)
        queue.manager.start("--take-over")
        (queue.root / f"gate{number}").touch()
        wait_until(lambda: len(outcomes(queue)) >= SLOTS, SECONDS, "results to be submitted")
        first.send_signal(signal.SIGCONT)
        assert first.wait(SECONDS) == 1
    assert worker.wait(SECONDS) == 0, queue.said
    everything_once(queue)


def running(queue: Queue, number: int) -> None:
    """So many tasks have begun."""
    notes = queue.root / "notes"
    wait_until(lambda: notes.exists() and lines(notes) >= number, SECONDS, f"{number} tasks")


def outcomes(queue: Queue) -> list[Path]:
    """Attempts that have ended and of which no manager has said that it knows."""
    return list(queue.home.attempts.glob("*/outcome.json"))


def everything_once(queue: Queue) -> None:
    assert len(queue.rows()) == lines(queue.root / "notes") == GATES * SLOTS
    assert {outcome for _, _, outcome in queue.attempts()} == {"COMPLETED"}
    assert "refuses" not in queue.said
    assert queue.unsubmitted() == []


def lines(path: Path) -> int:
    return len(path.read_text().splitlines())


def test_who_is_asking_just_then_is_answered_and_let_go(queue: Queue) -> None:
    """A plain client hears that asking again helps; none is left to a time limit."""
    queue.init("add", [1, 2])
    manager = queue.manager.start()
    ask = {"type": "request_task", "worker_id": "plain"}
    with ExitStack() as stack:
        clients = [stack.enter_context(connect(manager.socket_path)) for _ in range(20)]
        beat = {"type": "heartbeat", "worker_id": "plain", "tasks": []}
        assert all(exchange(each, beat)["type"] == "ack" for each in clients)
        first = paused(queue)  # what they ask lies there when it finds out
        queue.manager.start("--take-over")
        for each in clients:
            each.sendall(b'{"type": "heartbeat", "worker_id": "plain", "tasks": []}\n')
        first.send_signal(signal.SIGCONT)
        answers = [each.makefile("rb").readline() for each in clients]
        assert any(answers)
        assert all(b'"retryable":true' in each for each in answers if each), answers
        assert first.wait(SECONDS) == 1
    assert queue.manager.ask(ask)["type"] == "task"
    said = re.findall(r"(\d\d):(\d\d):(\d\d) (Stopping|Stopped)", queue.manager.said)
    (stopping, stopped) = (int(h) * 3600 + int(m) * 60 + int(s) for h, m, s, _ in said)
    assert (stopped - stopping) % 86400 < 5, "it waited for clients that had their answer"


@pytest.mark.slow
def test_a_worker_elsewhere_finds_it_at_the_same_address(queue: Queue) -> None:
    """The port is the first one's until it finds out: the second one waits for it."""
    listen = ("--host", "127.0.0.1", "--port", str(free_port()))
    begin(queue, *listen)
    token = queue.cli.ok("token").strip()
    worker = queue.cli.start(
        "work", "--cpu", "--slots", str(SLOTS), "--manager", f"127.0.0.1:{listen[-1]}",
        output=queue.output, SQLQUEUE_TOKEN=token,
    )  # fmt: skip
    queue.workers.append(worker)
    for number in range(GATES):
        running(queue, (number + 1) * SLOTS)
        take_over(queue, *listen)
        (queue.root / f"gate{number}").touch()
    assert worker.wait(SECONDS) == 0, queue.said
    everything_once(queue)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


def test_commands_that_were_asking_the_first_one(queue: Queue) -> None:
    """`init`, `verify --repair` and `status` end well: the second one answers."""
    queue.init("add", [1])
    queue.manager.start()
    first = paused(queue)
    commands = (["init", "sweep.yaml"], ["verify", "--repair"], ["status"])
    asking = [queue.cli.start(*each, output=queue.root / each[0]) for each in commands]
    wait_until(lambda: all(map(connected, asking)), SECONDS, "commands that ask")
    queue.manager.start("--take-over")
    first.send_signal(signal.SIGCONT)
    for each, command in zip(asking, commands, strict=True):
        assert each.wait(SECONDS) == 0, (queue.root / command[0]).read_text()
    assert first.wait(SECONDS) == 1


def connected(process: subprocess.Popen[bytes]) -> bool:
    """Whether it talks to somebody over a Unix socket."""
    return any(psutil.Process(process.pid).net_connections("unix"))
