"""A live manager whose socket somebody removed: it comes back, and `status` never denies it."""

from __future__ import annotations

import fcntl
import json
import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from support import Cli, ManagerProcess, connect, exchange, wait_until

pytestmark = pytest.mark.usefixtures("small_queue")


def _free(lock: Path) -> bool:
    with lock.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


@contextmanager
def paused(manager: ManagerProcess) -> Iterator[int]:
    """It does nothing meanwhile, and is not in the middle of writing; yields its pid."""
    process = manager.process
    assert process is not None

    def stopped_between_turns() -> bool:
        process.send_signal(signal.SIGSTOP)
        if _free(manager.home.turn):
            return True
        process.send_signal(signal.SIGCONT)
        return False

    wait_until(stopped_between_turns, 20, "a moment without writing")
    try:
        yield process.pid
    finally:
        process.send_signal(signal.SIGCONT)


def answers(manager: ManagerProcess) -> bool:
    with suppress(OSError):
        return manager.ask({"type": "status"})["status"]["manager"]["answers"] is True
    return False


def test_status_tells_of_a_manager_that_cannot_be_asked(manager: ManagerProcess, cli: Cli) -> None:
    with paused(manager) as pid:
        os.unlink(manager.socket_path)
        told = cli.ok("status")
        said = json.loads(cli.ok("status", "--json"))["manager"]
    assert f"manager  pid {pid} on " in told
    assert "it does not answer" in told
    assert "not running" not in told
    assert (said["running"], said["pid"], said["answers"]) == (True, pid, False)


def test_a_socket_that_was_removed_comes_back(manager: ManagerProcess, cli: Cli) -> None:
    with connect(manager.socket_path) as inside:
        os.unlink(manager.socket_path)
        wait_until(lambda: answers(manager), 20, "the manager answering anew")
        assert exchange(inside, {"type": "status"})["type"] == "status"
    assert manager.socket_path.lstat().st_mode & 0o777 == 0o600
    assert "not answer" not in cli.ok("status")
    assert manager.stop() == 0
    assert not manager.home.socket.exists()
    told = cli.ok("status")
    assert "not running" in told


def test_one_that_was_taken_over_makes_no_socket(manager: ManagerProcess, cli: Cli) -> None:
    """What it would make could stand where the new one's is to be."""
    second = ManagerProcess(manager.home, cli, manager.output.with_name("second.output"))
    with ExitStack() as later:
        with paused(manager):
            second.start("--take-over")
            later.enter_context(paused(second))
            os.unlink(second.socket_path)
        old, manager.process = manager.process, None
        assert old is not None
        assert old.wait(30) == 1
        assert not second.home.socket.exists()
        assert "was gone" not in manager.said
    wait_until(lambda: answers(second), 20, "the second one answering")
    assert second.stop() == 0
