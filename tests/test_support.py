"""The tests' own tools: a condition that never comes fails in time, a process is ended."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from sqlqueue.home import Home
from support import environment, stop, wait_until


def test_wait_until_returns_what_it_waited_for() -> None:
    answers = iter([None, "", "here"])
    assert wait_until(lambda: next(answers), 5) == "here"


def test_wait_until_fails_in_time() -> None:
    with pytest.raises(AssertionError, match=r"the door was not met within 0\.05 s"):
        wait_until(lambda: False, 0.05, "the door")


def test_stop_ends_a_process_that_listens_and_fails_on_one_that_does_not() -> None:
    sleeper = "import sys; print(flush=True); sys.stdin.read()"
    process = subprocess.Popen(
        [sys.executable, "-c", sleeper], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert stop(process) != 0
    deaf = "import signal; signal.signal(15, signal.SIG_IGN); " + sleeper
    process = subprocess.Popen(
        [sys.executable, "-c", deaf], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    process.stdout.readline()
    with pytest.raises(AssertionError, match="did not stop"):
        stop(process, 0.1)
    assert process.returncode == -9


def test_the_home_is_in_the_test_folder_and_private(home: Home, tmp_path: Path) -> None:
    assert home.root == tmp_path
    assert home.path.stat().st_mode & 0o777 == 0o700


def test_nothing_of_the_users_queue_reaches_a_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SQLQUEUE_HOME", "/elsewhere")
    assert "SQLQUEUE_HOME" not in environment(Path("state"))
